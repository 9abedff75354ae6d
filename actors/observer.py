"""What rewards look at beside the judge's scores, each thing seen once: by a function, or by a second judge."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from actors.config import EvidenceConfig, JudgeConfig
from actors.judge.judge import check_judge, start_judge
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, Fault, RetryPolicy
from actors.metered.service import Pooled
from actors.metered.shared_calls import SharedCalls
from actors.metered.usage_ledger import UsageLedger
from actors.pool import Pool, deploy, pool_name, replica_options
from actors.store.store import Store
from actors.user_functions.child import LOOK
from actors.user_functions.process import START_TIMEOUT_S, RewardProcess, start
from rewards.compose import RewardError, TermConfig, raised
from rewards.evidence_functions import as_json, is_builtin_evidence_function, load_evidence_function
from rewards.functions import FunctionError, identity_of
from rollout.concurrency import all_of
from rollout.roles import EvidenceProvider, Judge, JudgeError
from rollout.types import ScoreRequest, Scores


async def start_observers(
    evidence: Mapping[str, EvidenceConfig], store_root: Path | str, service: str, ledger_folder: Path | str | None
) -> dict[str, EvidenceProvider]:
    """Start who gathers each piece of evidence, by its name. Raises ValueError for one that cannot work."""
    for name, config in evidence.items():
        check_evidence(name, config)
    starting = [
        _start(name, config, store_root, f"{service}-{name}", ledger_folder) for name, config in evidence.items()
    ]
    return dict(zip(evidence, await all_of(starting), strict=True))


def check_evidence(name: str, config: EvidenceConfig) -> None:
    """Raise ValueError where a function is missing, or what a judge needs: a prompt, a model, a key."""
    if config.judge is not None:
        try:
            check_judge(config.judge)
        except ValueError as error:
            raise ValueError(f"evidence.{name}: {error}") from error
        return
    try:
        _identity(config.fn)
    except RewardError as error:
        raise ValueError(f"evidence.{name}.fn {config.fn}: {error.detail}") from error


def judges_of(evidence: Mapping[str, EvidenceConfig]) -> dict[str, JudgeConfig]:
    """Return the judges among the evidence, by their sections of the recipe."""
    return {f"evidence.{name}.judge": one.judge for name, one in evidence.items() if one.judge is not None}


async def _start(
    name: str, config: EvidenceConfig, store_root: Path | str, service: str, ledger_folder: Path | str | None
) -> EvidenceProvider:
    area = f"evidence/{name}"
    if config.judge is not None:
        return JudgeObserver(await start_judge(config.judge, store_root, service, ledger_folder, area=area))
    root = str(Path(store_root).absolute())
    pool = await deploy(
        pool_name(service, root),
        partial(EvidenceReplica, config.fn, root, config.timeout_s),
        num_replicas=config.num_replicas,
        max_ongoing=config.max_concurrency,
        actor_options=replica_options(config.cpus_per_replica, config.gpus_per_replica, 1),
    )
    ledger = None if ledger_folder is None else str(Path(ledger_folder).absolute())
    make = partial(_make_calls, config, root, pool, area, ledger)
    identity = await asyncio.to_thread(_identity, config.fn)
    return FunctionObserver(identity, root, await SharedCalls.start(make, is_local=config.num_replicas == 0))


def _make_calls(
    config: EvidenceConfig, store_root: str, pool: Pool, area: str, ledger_folder: str | None, is_continued: bool
) -> MeteredCalls:
    return MeteredCalls(
        Store(store_root),
        # A process of its own keeps the time by itself, from when it has the call.
        RetryPolicy(
            config.timeout_s + (0 if is_builtin_evidence_function(config.fn) else START_TIMEOUT_S), num_attempts=1
        ),
        Pooled(
            pool.call,
            max(1, config.num_replicas) * (config.max_concurrency if is_builtin_evidence_function(config.fn) else 1),
        ),
        UsageLedger(area, ledger_folder, is_continued=is_continued),
    )


@dataclass(frozen=True)
class JudgeObserver:
    """A second judge: the evidence is its scores."""

    judge: Judge

    async def observe(self, request: ScoreRequest) -> Scores:
        """Return the scores. Raises `JudgeError`, `BudgetSpent`."""
        return await self.judge.score(request)

    async def stats(self) -> dict[str, float]:
        """Return the judge's bill, keyed `evidence/<name>/...`."""
        return await self.judge.stats()


@dataclass(frozen=True)
class FunctionObserver:
    """A function of the pictures: the evidence is what it returns. Each look is done once, whoever asks."""

    identity: str
    """The function with a digest of its module's source; part of every cache key."""
    store_root: str
    owner: SharedCalls

    async def observe(self, request: ScoreRequest) -> Any:
        """Return what the function saw. Raises `JudgeError` when it fails, or an image is gone."""
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
        except FileNotFoundError as error:
            raise JudgeError(f"no_image: {error}") from error

    async def stats(self) -> dict[str, float]:
        """Return counts since the run's start, keyed `evidence/<name>/...`; seconds are sums."""
        return await self.owner.stats()


class EvidenceReplica:
    """Runs a function of ours in threads; another in a process, one call at a time, killed when it hangs."""

    def __init__(self, fn: str, store_root: str, timeout_s: float):
        self._look = load_evidence_function(fn) if is_builtin_evidence_function(fn) else None
        self._process = RewardProcess(TermConfig(fn, timeout_s=timeout_s), LOOK)
        self._store = Store(store_root)

    async def __call__(self, request: ScoreRequest) -> Any:
        """Return the function's answer as JSON has it, or a `Fault` that says why there is none."""
        try:
            seen = await asyncio.to_thread(self._seen, request)
            if self._look is None:
                return await self._process(seen)
            return await asyncio.to_thread(lambda look: as_json(look(*seen)), self._look)
        except FileNotFoundError as error:
            return Fault("no_image", str(error), is_retryable=False)
        except RewardError as error:
            return Fault(error.kind, error.detail, is_retryable=False)
        except Exception as error:
            # A function of its arguments fails again for the same ones.
            return Fault(type(error).__name__, raised(error), is_retryable=False)

    def check_health(self) -> None:
        """A function has nothing to lose."""

    def _seen(self, request: ScoreRequest) -> tuple[Image.Image | None, Image.Image, str]:
        before = None if request.before is None else self._store.get_image(request.before)
        return before, self._store.get_image(request.after), request.instruction


def _identity(fn: str) -> str:
    """Return the function with a digest of its source; one not ours is imported elsewhere. Raises `RewardError`."""
    try:
        load_evidence_function(fn) if is_builtin_evidence_function(fn) else start(TermConfig(fn), LOOK).close()
        return identity_of(fn)
    except FunctionError as error:
        raise RewardError("import", fn, str(error)) from error
