"""One schedule on the real driver: workers, pools, owners of paid calls, store, ledger and log as in a run."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from actors.cluster import ray_cluster
from actors.generator.generator import Generator
from actors.rollout_worker import RolloutWorkers
from actors.sampler.sampler import Samplers
from actors.store.ledger import read_ledger
from actors.store.ledger_writer import start_ledger
from actors.store.store import Store
from benchmarks.pipeline.roles import StandInPolicy, start_judge, start_samplers
from benchmarks.pipeline.scenario import NUM_TASKS, N, Scenario, Schedule
from rewards.compose import WeightedSum
from rl.recipe.config import Recipe
from rl.stream import RolloutStream
from rl.tracking.loop_watch import watch_loop
from rl.tracking.rl_log import Log
from rl.train import train
from rollout.concurrency import all_of
from rollout.single_step import SingleStep
from rollout.types import Group, GroupRequest, SamplingParams
from tests.support.training import no_evaluations

Rewards = dict[tuple[int, str, int], tuple[str, float]]
"""(step, task, sample) -> the response and its reward."""


@dataclass
class Measured:
    """What a schedule came to."""

    step_ends: list[float] = field(default_factory=list)
    """When training began, and when each step was published (`time.monotonic`)."""
    cpu_seconds: list[float] = field(default_factory=list)
    """CPU time of all processes of the run by then."""
    driver_cpu_seconds: list[float] = field(default_factory=list)
    machine_cpu_seconds: list[float] = field(default_factory=list)
    """CPU time of all that runs on the machine by then."""
    rewards: Rewards = field(default_factory=dict)
    staleness: Counter[int] = field(default_factory=Counter)
    """How many samples were drawn so many versions before the one that learned from them."""
    sample_seconds: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """What the samples of each step spent at each stage, waiting included, added up."""
    slowest_callback: str = ""
    wrong: list[str] = field(default_factory=list)
    """What is not as it has to be."""
    processes: list[psutil.Process] = field(default_factory=list)
    """All of the run's but the driver."""

    def note_step(self) -> None:
        """Note that a step was published; first, that the initial weights were."""
        self.step_ends.append(time.monotonic())
        driver = _cpu_seconds(psutil.Process())
        self.driver_cpu_seconds.append(driver)
        self.cpu_seconds.append(driver + sum(map(_cpu_seconds, self.processes)))
        machine = psutil.cpu_times()
        self.machine_cpu_seconds.append(float(machine.user + machine.nice + machine.system))

    def see(self, request: GroupRequest, group: Group) -> None:
        """Note a group that is about to be learned from."""
        for sample in group.samples:
            key = request.step, sample.task_id, sample.index
            if sample.reward is None or sample.evidence is None:
                self.wrong.append(f"sample {key} failed: {sample.failure}")
                continue
            response = sample.evidence.response
            self.rewards[key] = response.text, sample.reward.total
            self.staleness[request.step - 1 - response.policy_version] += 1
            self.sample_seconds[request.step].update(sample.seconds)


async def measure(scenario: Scenario, schedule: Schedule, folder: Path, console: Console) -> Measured:
    """Run a schedule in a Ray of its own, with an empty store."""
    recipe, measured = scenario.recipe(schedule, folder), Measured()
    async with ray_cluster("", recipe.num_cpus):
        policy = StandInPolicy(scenario, measured.note_step)
        samplers = start_samplers(scenario, recipe.samplers, is_serial=schedule.is_serial)
        journey = await _start_journey(scenario, recipe, samplers)
        ledger = start_ledger(Path(recipe.run_dir) / "ledger", store=Store(recipe.store))
        ledger.begin(1)
        workers = await RolloutWorkers.start(recipe.workers, journey, ledger)

        async def roll_out(request: GroupRequest) -> Group:
            policy.prepare((request.task.before, request.task.after))
            group = await workers.roll_out(request)
            measured.see(request, group)
            return group

        async def stats() -> dict[str, float]:
            return workers.own_stats() | await samplers.stats() | await journey.stats()

        stream = RolloutStream(recipe, scenario.tasks(folder), roll_out)
        measured.processes = psutil.Process().children(recursive=True)
        async with watch_loop() as watch:
            log = await Log.start(recipe, console=console, stats=stats, watch=watch)
            try:
                log.metrics(await policy.publish(samplers))
                await train(recipe, policy, samplers, stream, no_evaluations(recipe, journey, log), log)
            finally:
                await log.close()
        measured.slowest_callback = str(watch)
    _check(recipe, schedule, measured)
    return measured


async def _start_journey(scenario: Scenario, recipe: Recipe, samplers: Samplers) -> SingleStep:
    root, ledger = str(Path(recipe.store).resolve()), Path(recipe.run_dir) / "ledger"
    starting: Any = (
        Generator.start(recipe.generator, root, "generator", ledger),
        start_judge(scenario, recipe.judge, root, ledger),
    )
    generator, judge = await all_of(starting)
    return SingleStep(
        sampler=samplers,
        generator=generator,
        judge=judge,
        reward=WeightedSum(recipe.reward.terms),
        template=Path(recipe.rollout.prompt).read_text(encoding="utf-8"),
        params=SamplingParams(recipe.rollout.temperature, recipe.rollout.max_tokens),
    )


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # ended meanwhile
        return 0.0
    return float(times.user + times.system)


def _check(recipe: Recipe, schedule: Schedule, measured: Measured) -> None:
    """Add what is wrong: samples that are missing or too old, rows of the ledger that say something else."""
    wanted = recipe.num_steps * NUM_TASKS * N
    if len(measured.rewards) != wanted:
        measured.wrong.append(f"{len(measured.rewards)} of {wanted} samples have a reward")
    if any(not 0 <= age <= schedule.max_staleness for age in measured.staleness):
        measured.wrong.append(f"samples are up to {max(measured.staleness)} updates old: {dict(measured.staleness)}")
    rows = {
        (row["step"], row["task_id"], row["index"]): (row["response"], row["reward"] and row["reward"]["total"])
        for row in read_ledger(Path(recipe.run_dir) / "ledger")
    }
    if rows != measured.rewards:
        measured.wrong.append(f"the ledger's {len(rows)} rows differ from what was learned from")
