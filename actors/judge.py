"""The `Judge` that pays once a score, over an embedded scorer or an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from actors.config import JudgeConfig
from actors.embedded_judge import EmbeddedReplica, scorer_identity
from actors.openai_judge import OpenAIReplica, Question, Secret, read_key
from actors.paid_call import PaidCalls
from actors.pool import Pool, deploy, pool_name, replica_options
from actors.retry import CallError, RetryPolicy
from actors.store import Store
from rewards.rubric import combine, render_semantics
from rollout.roles import JudgeError
from rollout.types import ScoreRequest, Scores

_REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Judge:
    """Satisfies `rollout.roles.Judge`. Picklable; each process keeps its own flights and counts."""

    config: JudgeConfig
    store_root: str
    pool: Pool
    identity: str
    """The judge as far as its answers depend on it; part of every cache key."""
    rubrics: dict[str, str] = field(default_factory=dict)
    """openai: the texts of the rubric files, `semantics` and `quality`."""

    def __post_init__(self) -> None:
        self._store = Store(self.store_root)
        policy = RetryPolicy(self.config.timeout_s, self.config.num_attempts)
        limit = max(1, self.config.num_replicas) * self.config.max_concurrency
        self._calls = PaidCalls(self._store, policy, limit=limit)

    @classmethod
    async def start(cls, config: JudgeConfig, store_root: Path | str, service: str = "judge") -> Judge:
        """Deploy the pool and return its handle. Raises ValueError for a judge that cannot work."""
        root = str(Path(store_root).absolute())
        make, identity, rubrics = _plan(config, root)
        pool = await deploy(
            pool_name(service, root),
            make,
            num_replicas=config.num_replicas,
            max_ongoing=config.max_concurrency,
            actor_options=replica_options(config.cpus_per_replica, 0, 1),
        )
        return cls(config, root, pool, identity, rubrics)

    async def score(self, request: ScoreRequest) -> Scores:
        """Return the scores. Raises `JudgeError` when none can be had."""
        try:
            if self.config.kind == "embedded":
                return await self._score_embedded(request)
            return await self._score_openai(request)
        except CallError as error:
            raise JudgeError(str(error)) from error
        except FileNotFoundError as error:
            raise JudgeError(f"no_image: {error}") from error

    async def stats(self) -> dict[str, float]:
        """Return counts of this process since its start, keyed `judge/...`; seconds are sums."""
        return self._calls.stats("judge")

    async def _score_embedded(self, request: ScoreRequest) -> Scores:
        depends_on = self._depends_on(request.before, request.after) | {"instruction": request.instruction}
        return Scores(**await self._calls.get(depends_on, partial(self.pool.call, request)))

    async def _score_openai(self, request: ScoreRequest) -> Scores:
        # Two calls, cached apart and both awaited: when one fails, the other is not paid for again.
        images = (request.after,) if request.before is None else (request.before, request.after)
        asked = render_semantics(self.rubrics["semantics"], request.instruction, has_before=request.before is not None)
        questions = Question(asked, images), Question(self.rubrics["quality"], (request.after,))
        answers = await asyncio.gather(*map(self._ask, questions), return_exceptions=True)
        semantics, quality = map(_raise, answers)
        return combine(semantics, quality)

    async def _ask(self, question: Question) -> dict[str, Any]:
        depends_on = self._depends_on(*question.images) | {"question": question.text}
        return await self._calls.get(depends_on, partial(self.pool.call, question))

    def _depends_on(self, *images: str | None) -> dict[str, Any]:
        return {
            "service": "judge",
            "judge": self.identity,
            "images": [self._store.digest(image) for image in images],
        }

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("config", "store_root", "pool", "identity", "rubrics")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()


def _raise(answer: dict[str, Any] | BaseException) -> dict[str, Any]:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _plan(config: JudgeConfig, root: str) -> tuple[Callable[[], Any], str, dict[str, str]]:
    """Return how to make a replica, the judge's identity and its rubrics; fail here rather than there."""
    if config.kind == "embedded":
        return partial(EmbeddedReplica, config.scorer, root), scorer_identity(config.scorer), {}
    if not config.model:
        raise ValueError("judge.model is empty: name the model at the endpoint")
    rubrics = {
        "semantics": read_rubric(config.semantics_rubric),
        "quality": read_rubric(config.quality_rubric),
    }
    render_semantics(rubrics["semantics"], "", has_before=False)
    make = partial(OpenAIReplica, config, Secret(read_key(config)), root)
    return make, f"{config.model} at {config.base_url} with {sorted(config.call.items())}", rubrics


def read_rubric(path: str) -> str:
    """Read a rubric file; a relative path is looked for here and in the repository."""
    for folder in (Path.cwd(), _REPOSITORY):
        if (folder / path).is_file():
            return (folder / path).read_text().strip()
    raise ValueError(f"no rubric file {path} in {Path.cwd()} or {_REPOSITORY}")
