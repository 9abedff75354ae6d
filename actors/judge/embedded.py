"""A judge that is a function of ours: no model, no network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from actors.judge.config import JudgeConfig
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, Fault, RetryPolicy
from actors.metered.service import Pooled
from actors.metered.shared_calls import SharedCalls
from actors.metered.usage_ledger import Budget, UsageLedger
from actors.pool import Pool, deploy, pool_name, replica_options
from actors.store.store import Store
from rewards.functions import FunctionError, anchored, identity_of, load_function
from rewards.rubric import RubricError, check_scores
from rollout.concurrency import all_settled
from rollout.roles import JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores

Scorer = Callable[[Image.Image | None, Image.Image, str], Scores]
"""`score(before, after, instruction)`; must give equal scores for equal arguments."""


@dataclass(frozen=True)
class EmbeddedJudge:
    """Satisfies `rollout.roles.Judge`. Picklable; each look is done once, whichever process asks."""

    identity: str
    """The scorer with a digest of its source; part of every cache key."""
    store_root: str
    owner: SharedCalls

    async def score(self, request: ScoreRequest) -> Scores:
        """Return the scores. Raises `JudgeError` when the scorer fails, or an image is gone."""
        store = Store(self.store_root)
        try:
            depends_on = {
                "service": "judge",
                "judge": self.identity,
                "images": [store.digest(image) for image in (request.before, request.after)],
                "instruction": request.instruction,
            }
            return Scores(**await self.owner.get(depends_on, request))
        except CallError as error:
            raise JudgeError(str(error)) from error
        except FileNotFoundError as error:
            raise JudgeError(f"no_image: {error}") from error

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        """Return the scores of the old and the new attempt, each looked at by itself. Raises `JudgeError`.

        Side by side it sees nothing: these are two calls of `score` (`actors.judge.judge.sees_both`).
        """
        looks = (ScoreRequest(request.before, image, request.instruction) for image in (request.old, request.new))
        old, new = await all_settled(map(self.score, looks))
        return old, new

    async def stats(self) -> dict[str, float]:
        """Return counts since the run's start, keyed `area/...`; seconds are sums."""
        return await self.owner.stats()


async def start_embedded_judge(
    config: JudgeConfig,
    store_root: Path | str,
    service: str = "judge",
    ledger_folder: Path | str | None = None,
    *,
    area: str = "judge",
) -> EmbeddedJudge:
    """Deploy the pool `service` and return its judge; `load_scorer` says beforehand whether there is one."""
    root = str(Path(store_root).absolute())
    # Actors do not share the driver's working folder.
    config = replace(config, scorer=anchored(config.scorer, Path.cwd()))
    identity = identity_of(config.scorer)
    pool = await deploy(
        pool_name(service, root),
        partial(EmbeddedReplica, config.scorer, root),
        num_replicas=config.num_replicas,
        max_ongoing=config.max_concurrency,
        actor_options=replica_options(config.cpus_per_replica, 0, 1),
    )
    ledger = None if ledger_folder is None else str(Path(ledger_folder).absolute())
    make = partial(_make_calls, config, root, pool, area, ledger)
    return EmbeddedJudge(identity, root, await SharedCalls.start(make, is_local=config.num_replicas == 0))


def _make_calls(
    config: JudgeConfig, store_root: str, pool: Pool, area: str, ledger_folder: str | None, is_continued: bool
) -> MeteredCalls:
    return MeteredCalls(
        Store(store_root),
        RetryPolicy(config.timeout_s, config.num_attempts),
        Pooled(pool.call, max(1, config.num_replicas) * config.max_concurrency),
        UsageLedger(area, ledger_folder, budget=Budget(config.budget_calls), is_continued=is_continued),
    )


class EmbeddedReplica:
    """Runs the scorer in threads, so that reading images and scoring overlap."""

    def __init__(self, scorer: str, store_root: str):
        self._score = load_scorer(scorer)
        self._store = Store(store_root)

    async def __call__(self, request: ScoreRequest) -> dict[str, Any] | Fault:
        """Return the scores as a dict, or why there are none."""
        try:
            return await asyncio.to_thread(self._judge, request)
        except FileNotFoundError as error:
            return Fault("no_image", str(error), is_retryable=False)
        except RubricError as error:
            return Fault(error.kind, error.detail, is_retryable=False)
        except Exception as error:
            # A function of its arguments fails again for the same ones.
            return Fault(type(error).__name__, str(error)[:500], is_retryable=False)

    def check_health(self) -> None:
        """An embedded judge has nothing to lose."""

    def _judge(self, request: ScoreRequest) -> dict[str, Any]:
        before = None if request.before is None else self._store.get_image(request.before)
        return asdict(check_scores(self._score(before, self._store.get_image(request.after), request.instruction)))


def load_scorer(path: str) -> Scorer:
    """Return the function that a recipe names. Raises ValueError that says what is missing."""
    try:
        return load_function(path)
    except (FunctionError, ImportError) as error:
        raise ValueError(f"judge.scorer is {path!r}: {error}") from error
