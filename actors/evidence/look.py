"""Evidence from a pool of replicas that run a function or a class, computed once per distinct request."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from actors.evidence.config import EvidenceConfig
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, Fault, RetryPolicy
from actors.metered.service import Pooled
from actors.metered.shared_calls import SharedCalls
from actors.metered.usage_ledger import UsageLedger
from actors.pool import Pool, deploy, pool_name, replica_options
from actors.run_context import RunContext
from actors.store.store import NO_IMAGE, Store
from actors.user_functions.child import LOOK
from actors.user_functions.looks import check_function
from actors.user_functions.process import START_TIMEOUT_S, RewardProcess
from rewards.compose import RewardError, TermConfig, said
from rewards.functions.evidence_loader import as_json, is_builtin_evidence_function, load_evidence_function
from rewards.functions.import_path import anchored
from rollout.roles import JudgeError
from rollout.text.foreign import error_text
from rollout.types import ScoreRequest


@dataclass(frozen=True)
class FunctionObserver:
    """A function of the pictures, whose result is the evidence. Equal requests share one call."""

    identity: str
    """The function with a digest of its module's source; part of every cache key."""
    store_root: str
    owner: SharedCalls

    async def observe(self, request: ScoreRequest) -> object:
        """Return the function's result. Raises `JudgeError` if it fails or an image is gone."""
        store = Store(self.store_root)
        try:
            depends_on = {
                "service": "evidence",
                "function": self.identity,
                "images": [store.digest(image) for image in (request.before, request.after)],
                "instruction": request.instruction,
            }
            return await self.owner.get(depends_on, request)
        except CallError as error:
            raise JudgeError(f"evidence {self.identity.partition('@')[0]}: {error}") from error
        except NO_IMAGE as error:
            raise JudgeError(f"no_image: {error}") from error

    async def stats(self) -> dict[str, float]:
        """Return counts since the run's start, keyed `evidence/<name>/...`; seconds are sums."""
        return await self.owner.stats()


async def start_function(config: EvidenceConfig, context: RunContext) -> FunctionObserver:
    """Deploy the pool of a function and return its handle."""
    is_builtin = is_builtin_evidence_function(config.fn)
    # Actors do not share the driver's working folder.
    make = partial(EvidenceReplica, anchored(config.fn, Path.cwd()), context.root, config.timeout_s)
    # A user-defined function's process enforces timeout_s itself, from when it receives the call.
    policy = RetryPolicy(config.timeout_s + (0 if is_builtin else START_TIMEOUT_S), num_attempts=1)
    owner = await start_calls(config, context, make, policy, config.max_concurrency if is_builtin else 1)
    return FunctionObserver(await asyncio.to_thread(check_function, config.fn), context.root, owner)


async def start_calls(
    config: EvidenceConfig, context: RunContext, make: Callable[[], object], policy: RetryPolicy, num_at_once: int
) -> SharedCalls:
    """Deploy a pool of replicas made by `make`, each with `num_at_once` calls, and start the owner of its calls."""
    pool = await deploy(
        pool_name(context.service, context.root),
        make,
        num_replicas=config.num_replicas,
        max_ongoing=config.max_concurrency,
        actor_options=replica_options(config.cpus_per_replica, config.gpus_per_replica, 1),
    )
    make_calls = partial(_make_calls, context, pool, policy, max(1, config.num_replicas) * num_at_once)
    return await SharedCalls.start(make_calls, is_local=config.num_replicas == 0)


def _make_calls(
    context: RunContext, pool: Pool, policy: RetryPolicy, num_places: int, is_continued: bool
) -> MeteredCalls:
    usage = UsageLedger(context.area, context.ledger, is_continued=is_continued)
    return MeteredCalls(Store(context.root), policy, Pooled(pool.call, num_places), usage)


class EvidenceReplica:
    """Runs a built-in function in threads; a user-defined one in a process, call by call, killed if it hangs."""

    def __init__(self, fn: str, store_root: str, timeout_s: float):
        self._look = load_evidence_function(fn) if is_builtin_evidence_function(fn) else None
        self._process = RewardProcess(TermConfig(fn, timeout_s=timeout_s), LOOK)
        self._store = Store(store_root)

    async def __call__(self, request: ScoreRequest) -> object:
        """Return the function's answer as JSON, or a `Fault` that says why there is none."""
        try:
            seen = await asyncio.to_thread(self._seen, request)
            if self._look is None:
                return await self._process(seen)
            return await asyncio.to_thread(lambda look: as_json(look(*seen)), self._look)
        except NO_IMAGE as error:
            return Fault("no_image", error_text(error), is_retryable=False)
        except RewardError as error:
            return Fault(error.kind, error.detail, is_retryable=False)
        except Exception as error:
            # The function would fail again with the same arguments.
            return Fault(type(error).__name__, said(error), is_retryable=False)

    def check_health(self) -> None:
        """A function has nothing to lose."""

    def _seen(self, request: ScoreRequest) -> tuple[Image.Image | None, Image.Image, str]:
        before = None if request.before is None else self._store.get_image(request.before)
        return before, self._store.get_image(request.after), request.instruction
