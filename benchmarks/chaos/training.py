"""The scene of `benchmarks.chaos` in which a real training loop goes on, whoever is killed."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from actors.config import LossConfig, RolloutWorkersConfig
from actors.metered.shared_calls import SharedCalls
from actors.rollout_worker import RolloutWorkers
from actors.store.append_log import read_log
from actors.store.ledger import read_ledger
from actors.store.ledger_writer import start_ledger
from benchmarks.chaos.roles import PaidGenerator, PublishedSampler, PublishingPolicy, newest_worker, paint
from benchmarks.chaos.scene import GOES_ON_S, Found, kill, newest_writer, paid_calls
from rewards.compose import TermConfig, WeightedSum
from rl.recipe.config import AlgorithmConfig, EvaluationConfig, Recipe, RewardConfig, RolloutConfig
from rl.recipe.jobs import TrackingConfig
from rl.stream import RolloutStream
from rl.tracking.metrics_file import read_metrics
from rl.tracking.rl_log import Log
from rl.train import train
from rollout.single_step import SingleStep
from rollout.types import Group, GroupRequest, SamplingParams
from tests.support.fakes import FakeJudge, make_task
from tests.support.training import no_evaluations

GROUPS, N = 4, 8
NUM_PLACES = GROUPS * N
TERMS = [TermConfig("rewards.format.is_parsed", 0.5, "format"), TermConfig("rewards.stepwise.semantic_gain", 0.5)]
MAX_DELAY_S = 0.6
"""A kill comes so long after its step began, at most."""
Learned = dict[tuple[int, str, int], float | None]
"""(step, task, index) -> the total that the loop was given, None for a sample that failed."""


class Killer:
    """Kills one of several victims a step; a step waits for the kill of the step before the last."""

    def __init__(self, victims: dict[str, Callable[[], int | None]], found: Found, dice: random.Random):
        self._victims, self._found, self._dice = victims, found, dice
        self._kills: dict[int, asyncio.Task[None]] = {}
        self._killed: set[int] = set()

    async def step(self, step: int) -> None:
        """Begin a step."""
        if step not in self._kills and step <= self._found.num_wanted:
            self._kills[step] = asyncio.create_task(self._kill(list(self._victims)[step % len(self._victims)]))
        if step - 2 in self._kills:
            await asyncio.shield(self._kills[step - 2])

    async def end(self) -> None:
        await asyncio.gather(*self._kills.values())

    async def _kill(self, name: str) -> None:
        await asyncio.sleep(self._dice.uniform(0.0, MAX_DELAY_S))
        async with asyncio.timeout(GOES_ON_S):
            while (pid := await asyncio.to_thread(self._victims[name])) is None or pid in self._killed:
                await asyncio.sleep(0.02)
        kill(pid)
        self._killed.add(pid)
        self._found.counts["kills"] += 1
        self._found.counts[name] += 1


def make_recipe(folder: Path, num_steps: int) -> Recipe:
    """Return a recipe whose stream runs one step ahead, and asks for no sample twice."""
    return Recipe(
        name="chaos",
        run_dir=str(folder),
        num_steps=num_steps,
        max_staleness=1,
        rollout=RolloutConfig(groups_per_step=GROUPS, n=N, max_refills=0, refill_zero_variance=False),
        reward=RewardConfig(TERMS),
        algorithm=AlgorithmConfig(loss=LossConfig(rollout_correction="token")),
        tracking=TrackingConfig(backends=[]),
        evaluation=EvaluationConfig(num_tasks=0),
    )


async def kill_in_training(folder: Path, kills: int, dice: random.Random) -> Found:
    """Train on fakes through real workers, ledger writer and owner while these are killed in turn."""
    (folder / "workers").mkdir(parents=True)
    found, recipe = Found("training", kills), make_recipe(folder, kills + 2)
    owner = await SharedCalls.start(partial(paid_calls, folder, paint, NUM_PLACES))
    ledger = start_ledger(folder / "ledger")
    ledger.begin(1)
    policy, sampler = PublishingPolicy(lr=0.3), PublishedSampler(folder / "weights")
    await policy.publish(sampler)
    reward = WeightedSum(TERMS)
    journey = SingleStep(sampler, PaidGenerator(owner), FakeJudge(), reward, "<image><image>", SamplingParams())
    workers = await RolloutWorkers.start(RolloutWorkersConfig(num_workers=2, groups_per_worker=4), journey, ledger)
    writers = {
        name: partial(newest_writer, folder / "ledger", kind)
        for name, kind in (("ledger", "samples"), ("owner", "calls"))
    }
    killer = Killer({"worker": partial(newest_worker, folder), **writers}, found, dice)
    learned: Learned = {}

    async def roll_out(request: GroupRequest) -> Group:
        await killer.step(request.step)
        async with asyncio.timeout(GOES_ON_S):
            group = await workers.roll_out(request)
        for sample in group.samples:
            learned[request.step, sample.task_id, sample.index] = sample.reward and sample.reward.total
        return group

    tasks = [make_task(number) for number in range(GROUPS * (recipe.num_steps + 2))]
    log = await Log.start(recipe, console=Console(quiet=True), stats=journey.stats)
    try:
        stream = RolloutStream(recipe, tasks, roll_out)
        await train(recipe, policy, sampler, stream, no_evaluations(recipe, journey, log), log)
        await killer.end()
    finally:
        await log.close()
        await workers.stop()
    found.counts["worker deaths"] = round(workers.own_stats()["rollout_workers/deaths"])
    found.expect(policy.version > recipe.num_steps // 2, f"only {policy.version} steps were learned from")
    _check_steps(folder, recipe.num_steps, learned, found)
    _check_payments(folder, found)
    return found


def _check_steps(folder: Path, num_steps: int, learned: Learned, found: Found) -> None:
    """Every sample of every step is in the ledger once, as it was learned from."""
    steps = [row["step"] for row in read_metrics(folder)]
    found.expect(steps == list(range(1, num_steps + 1)), f"the steps in the metrics are {steps}")
    rows: Counter[tuple[int, str, int]] = Counter()
    for row in read_ledger(folder / "ledger"):
        key = (row["step"], row["task_id"], row["index"])
        rows[key] += 1
        total = row["reward"] and row["reward"]["total"]
        found.expect(row["failure"] is None, f"sample {key} failed: {row['failure']}")
        found.expect(learned.get(key) == total, f"sample {key} was learned from with another reward")
    wanted = num_steps * GROUPS * N
    found.expect(set(rows) == set(learned) and len(rows) == wanted, f"{len(rows)} of {wanted} samples are there")
    found.expect(max(rows.values(), default=0) == 1, "samples are read twice")
    found.counts["steps"], found.counts["acknowledged"] = len(steps), len(learned)
    found.counts["sent again"] = sum(1 for _ in read_log(folder / "ledger", "samples")) - len(rows)


def _check_payments(folder: Path, found: Found) -> None:
    """Every payment is on the bill, and none was made again but what was under way when the owner was killed."""
    payments = Counter((folder / "payments").read_text().splitlines())
    answers = {row["key"] for row in read_log(folder / "ledger", "calls") if row["outcome"] == "answer"}
    found.counts["paid"] = payments.total()
    found.counts["paid again"] = payments.total() - len(payments)
    found.expect(len(answers) == len(payments), f"the bill has {len(answers)} of {len(payments)} answers")
    limit = found.counts["owner"] * NUM_PLACES
    found.expect(found.counts["paid again"] <= limit, "more was paid again than was under way")
