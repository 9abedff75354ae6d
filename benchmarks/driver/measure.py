"""One process that drives steps of training, and what they cost it."""

import asyncio
import ctypes
import gc
import tempfile
import threading
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import ray
from rich.console import Console

from actors.cluster import ray_cluster
from actors.config import LossConfig, PolicyConfig, RolloutWorkersConfig
from actors.policy.image_tensors import ImagePreparer
from actors.policy.policy import Policy
from actors.policy.setup import PolicySetup
from actors.rollout_worker import RolloutWorkers
from actors.store.ledger_writer import start_ledger
from benchmarks.driver.cost import Case, Cost
from benchmarks.driver.roles import ImageMaker, Rank, SleepingGenerators, TalkativeJudge, WordySampler, make_task
from rewards.compose import TermConfig, WeightedSum
from rl.advantages import check_estimator
from rl.large_blocks import return_large_blocks
from rl.recipe.config import EvaluationConfig, Recipe, RewardConfig, RolloutConfig
from rl.recipe.jobs import TrackingConfig
from rl.stream import RolloutStream
from rl.tracking.loop_watch import LoopWatch, watch_loop
from rl.tracking.metrics_file import read_metrics
from rl.tracking.rl_log import Log
from rl.train import train
from rollout.single_step import SingleStep
from rollout.types import Group, GroupRequest, SamplingParams
from tests.support.training import no_evaluations

N, WORKERS, RANKS = 8, 2, 2
GROUPS_PER_GENERATOR = 2
"""Groups in flight for each generator: some ten of their responses are tried out, enough for it to be busy."""
EDIT_S = 0.005
_LOOK_S = 0.01
OWN, STORE = "RssAnon", "RssShmem"
"""What the kernel calls this process's own memory, and what it shares with others: Ray's object store."""
TERMS = [
    TermConfig("rewards.format.is_parsed", 0.5, "format"),
    TermConfig("rewards.accuracy.is_right", 0.1, "accuracy"),
    TermConfig("rewards.stepwise.semantic_gain", 0.3),
    TermConfig("rewards.stepwise.quality_gain", 0.1),
]


def measure(cases: Sequence[Case]) -> list[Cost]:
    """Drive the cases one after the other, in this process."""
    return_large_blocks()
    check_estimator("grpo")  # as a run's preparation does: verl takes seconds to import
    with tempfile.TemporaryDirectory(prefix="driver-cost-") as folder:
        return [asyncio.run(_measure(case, Path(folder) / str(number))) for number, case in enumerate(cases)]


async def _measure(case: Case, folder: Path) -> Cost:
    async with ray_cluster("", num_cpus=4), watch_loop() as watch:
        driven = await _Driven.start(case, folder, watch)
        await driven.train(_recipe(folder / "warm-up", Case(N * 64, case.generators, 1)))
        return await driven.cost(case, _recipe(folder / "run", case))


class _IdlePolicy(Policy):
    """The policy's driver side, before ranks that learn nothing; there are no weights to publish or to save."""

    async def publish(self, samplers: object) -> dict[str, float]:
        return {}

    async def begin_save(self, folder: Path) -> Awaitable[None]:
        folder.mkdir(parents=True)
        return asyncio.sleep(0)


class _Ranks:
    """What `Policy` calls of verl's worker group."""

    def __init__(self) -> None:
        self.workers = [ray.remote(Rank).options(num_cpus=0.1).remote() for _ in range(RANKS)]

    def update(self, *arguments: Sequence[object]) -> list[dict[str, float]]:
        """Call each rank with its part of each argument, as verl does."""
        calls = [worker.update.remote(*parts) for worker, *parts in zip(self.workers, *arguments, strict=True)]
        answers: list[dict[str, float]] = ray.get(calls)
        return answers


@dataclass
class _Driven:
    """A driver's objects, and the actors behind them."""

    policy: Policy
    workers: RolloutWorkers
    journey: SingleStep
    watch: LoopWatch

    @classmethod
    async def start(cls, case: Case, folder: Path, watch: LoopWatch) -> "_Driven":
        generators = SleepingGenerators(max(1, case.generators // WORKERS), EDIT_S)
        journey = SingleStep(
            WordySampler(), generators, TalkativeJudge(), WeightedSum(TERMS), "<image><image>", SamplingParams()
        )
        ledger = start_ledger(folder / "ledger")
        ledger.begin(1)
        config = RolloutWorkersConfig(WORKERS, max(1, case.generators * GROUPS_PER_GENERATOR // WORKERS))
        images = ImagePreparer([ray.remote(ImageMaker).options(num_cpus=0).remote()])
        setup = PolicySetup(PolicyConfig(model="none", num_ranks=RANKS), LossConfig(), str(folder), 1)
        policy = _IdlePolicy(cast(Any, _Ranks()), images, setup, temperature=1.0)
        return cls(policy, await RolloutWorkers.start(config, journey, ledger), journey, watch)

    async def train(self, recipe: Recipe) -> list[dict[str, Any]]:
        """Train as `rl.run` does; return the rows of the metrics."""
        tasks = [make_task(number) for number in range(2 * recipe.rollout.groups_per_step)]

        async def roll_out(request: GroupRequest) -> Group:
            self.policy.prepare((request.task.before, request.task.after))
            return await self.workers.roll_out(request)

        async def stats() -> dict[str, float]:
            return self.workers.own_stats() | await self.journey.stats()

        log = await Log.start(recipe, console=Console(quiet=True), stats=stats, watch=self.watch)
        try:
            stream, none = RolloutStream(recipe, tasks, roll_out), no_evaluations(recipe, self.journey, log)
            await train(recipe, self.policy, cast(Any, None), stream, none, log)
        finally:
            await log.close()
        rows = read_metrics(Path(recipe.run_dir))
        assert [row["rollout/samples"] for row in rows] == [recipe.rollout.groups_per_step * N] * recipe.num_steps
        assert not any(row["rollout/failure_share"] for row in rows)
        return rows

    async def cost(self, case: Case, recipe: Recipe) -> Cost:
        """Train, and return what it cost."""
        num = case.samples * case.steps
        workers_s = await self._workers_s()
        await asyncio.to_thread(_hand_back)
        memory = _Memory.watch()
        started, driver_s = time.monotonic(), time.process_time()
        rows = await self.train(recipe)
        driver_s, seconds = time.process_time() - driver_s, time.monotonic() - started
        memory.is_over.set()
        return Cost(
            samples=case.samples,
            generators=case.generators,
            driver_ms=driver_s / num * 1e3,
            looking_ms=memory.looking_s / num * 1e3,
            loop_ms=sum(row["driver/loop_cpu_seconds"] for row in rows) / num * 1e3,
            driver_kb=memory.growth(OWN) / case.samples,
            store_kb=memory.growth(STORE) / case.samples,
            workers_ms=(await self._workers_s() - workers_s) / num * 1e3,
            samples_per_s=num / seconds,
            longest_callback_ms=max(row["driver/max_callback_ms"] for row in rows),
        )

    async def _workers_s(self) -> float:
        return (await self.workers.stats())["generator/process_seconds"]


def _recipe(folder: Path, case: Case) -> Recipe:
    recipe = Recipe(
        name="driver",
        run_dir=str(folder),
        num_steps=case.steps,
        save_every=0,
        rollout=RolloutConfig(groups_per_step=case.samples // N, n=N, max_refills=0, refill_zero_variance=False),
        reward=RewardConfig(TERMS),
        tracking=TrackingConfig(backends=[]),
        evaluation=EvaluationConfig(num_tasks=0),
    )
    return replace(recipe, algorithm=replace(recipe.algorithm, filter_zero_variance=False))


def _hand_back() -> None:
    """Hand free memory back to the system, so that what grows from here on is a step's."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _resident() -> dict[str, float]:
    """Return the resident memory by what it is, in kB of 1,000 bytes."""
    status = Path("/proc/self/status").read_text()
    return {name: int(status.partition(f"{name}:")[2].split(maxsplit=1)[0]) * 1.024 for name in (OWN, STORE)}


@dataclass
class _Memory:
    """Peaks of figures of memory, looked at in a thread: the kernel keeps only that of their sum."""

    before: dict[str, float]
    peaks: dict[str, float]
    is_over: threading.Event
    looking_s: float = 0.0
    """CPU time of looking."""

    @classmethod
    def watch(cls) -> "_Memory":
        found = _resident()
        memory = cls(found, dict(found), threading.Event())
        threading.Thread(target=memory._look, daemon=True).start()
        return memory

    def growth(self, name: str) -> float:
        return self.peaks[name] - self.before[name]

    def _look(self) -> None:
        while not self.is_over.wait(_LOOK_S):
            self.peaks = {name: max(self.peaks[name], kb) for name, kb in _resident().items()}
            self.looking_s = time.thread_time()
