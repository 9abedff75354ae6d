"""A judge that is a Python function: no model, no network."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
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
from actors.run_context import RunContext
from actors.store.store import NO_IMAGE, Store
from rewards.functions.import_path import anchored, identity_of, load_function
from rewards.judging.rubric import RubricError, check_scores
from rollout.concurrency import all_settled
from rollout.roles import JudgeError
from rollout.text.foreign import error_text
from rollout.types import CompareRequest, ImageRef, ScoreRequest, Scores

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
        return Scores(**await self._ask(request, request.before, request.after))

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        """Return the scores of the old and the new attempt, each looked at by itself. Raises `JudgeError`.

        Side by side it sees nothing: these are two calls of `score` (`actors.judge.judge.JudgeKind.sees_both`).
        """
        looks = (ScoreRequest(request.before, image, request.instruction) for image in (request.old, request.new))
        old, new = await all_settled(map(self.score, looks))
        return old, new

    async def stats(self) -> dict[str, float]:
        """Return counts since the run's start, keyed `area/...`; seconds are sums."""
        return await self.owner.stats()

    async def _ask(self, request: ScoreRequest | CompareRequest, *images: ImageRef | None) -> Any:
        store = Store(self.store_root)
        try:
            depends_on = {
                "service": "judge",
                "judge": self.identity,
                "images": [store.digest(image) for image in images],
                "instruction": request.instruction,
            }
            return await self.owner.get(depends_on, request)
        except CallError as error:
            raise JudgeError(str(error)) from error
        except NO_IMAGE as error:
            raise JudgeError(f"no_image: {error}") from error


async def start_embedded_judge(config: JudgeConfig, context: RunContext) -> EmbeddedJudge:
    """Deploy the pool of a scorer and return its judge; its kind says beforehand whether there is one."""
    # Actors do not share the driver's working folder.
    scorer = anchored(config.scorer, Path.cwd())
    owner = await start_calls(config, context, partial(EmbeddedReplica, scorer, context.root))
    return EmbeddedJudge(identity_of(scorer), context.root, owner)


async def start_calls(config: JudgeConfig, context: RunContext, make: Callable[[], object]) -> SharedCalls:
    """Deploy a judge's pool of replicas made by `make`, and start the owner of its calls."""
    pool = await deploy(
        pool_name(context.service, context.root),
        make,
        num_replicas=config.num_replicas,
        max_ongoing=config.max_concurrency,
        actor_options=replica_options(config.cpus_per_replica, config.gpus_per_replica, 1),
    )
    make_calls = partial(_make_calls, config, context, pool)
    return await SharedCalls.start(make_calls, is_local=config.num_replicas == 0)


def _make_calls(config: JudgeConfig, context: RunContext, pool: Pool, is_continued: bool) -> MeteredCalls:
    return MeteredCalls(
        Store(context.root),
        RetryPolicy(config.timeout_s, config.num_attempts),
        Pooled(pool.call, max(1, config.num_replicas) * config.max_concurrency),
        UsageLedger(context.area, context.ledger, budget=Budget(config.budget_calls), is_continued=is_continued),
    )


class EmbeddedReplica:
    """Runs the scorer in threads, so that reading images and scoring overlap."""

    def __init__(self, scorer: str, store_root: str):
        self._score: Scorer = load_function(scorer)
        self._store = Store(store_root)

    async def __call__(self, request: ScoreRequest) -> dict[str, object] | Fault:
        """Return the scores as a dict, or why there are none."""
        try:
            return await asyncio.to_thread(self._judge, request)
        except NO_IMAGE as error:
            return Fault("no_image", error_text(error), is_retryable=False)
        except RubricError as error:
            return Fault(error.kind, error.detail, is_retryable=False)
        except Exception as error:
            # A function of its arguments fails again for the same ones.
            return Fault(type(error).__name__, error_text(error)[:500], is_retryable=False)

    def check_health(self) -> None:
        """An embedded judge has nothing to lose."""

    def _judge(self, request: ScoreRequest) -> dict[str, object]:
        before = None if request.before is None else self._store.get_image(request.before)
        return asdict(check_scores(self._score(before, self._store.get_image(request.after), request.instruction)))
