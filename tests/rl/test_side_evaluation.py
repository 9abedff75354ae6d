"""Evaluations beside training: the weights that they began with, no step held up, failures of their own.

Slow: whole runs.
"""

import asyncio
from pathlib import Path

import pytest
from rich.console import Console

from actors.store.ledger import read_ledger
from rewards.compose import WeightedSum
from rl.evaluation import Evaluator
from rl.recipe.config import EvaluationConfig
from rl.side_evaluation import SideEvaluations
from rl.stream import RolloutStream
from rl.tracking.metrics_file import read_metrics
from rl.tracking.rl_log import Log
from rl.train import train
from rollout.roles import BudgetSpent
from rollout.single_step import SingleStep
from rollout.types import SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge, FakePolicy, FakeSampler, make_task
from tests.support.training import TERMS, make_recipe, recorded, train_on_fakes

pytestmark = pytest.mark.slow

EVERY_2 = EvaluationConfig(num_tasks=0, num_tasks_during=0, every=2)
HELDOUT = [make_task(i) for i in range(100, 105)]


class SlowSampler(FakeSampler):
    """Takes its time over answers to held-out tasks."""

    def __init__(self, sampling_s=0.0):
        super().__init__()
        self.sampling_s = sampling_s

    async def sample(self, request):
        if request.images[1] in {task.after for task in HELDOUT}:
            version = self.version
            await asyncio.sleep(self.sampling_s)
            assert self.version == version, "published while an evaluation draws"
        return await super().sample(request)


class SlowJudge(FakeJudge):
    """May look at held-out images once it is told to, and counts what it does before."""

    def __init__(self, may_look):
        super().__init__()
        self.may_look = may_look

    async def score(self, request):
        await self.may_look.wait()
        return await super().score(request)


class Scene:
    """The real loop on fakes, whose evaluations have a judge of their own."""

    def __init__(self, folder, *, judge=None, generator=None, num_steps=6, sampler=None, policy=None):
        self.recipe = make_recipe(folder, num_steps=num_steps, evaluation=EVERY_2)
        self.folder = Path(folder)
        self.policy, self.sampler = policy or FakePolicy(), sampler or FakeSampler()
        self.judge, self.generator = judge or FakeJudge(), generator or FakeGenerator()

    def journey(self, generator, judge):
        return SingleStep(self.sampler, generator, judge, WeightedSum(TERMS), "<image><image>", SamplingParams())

    async def run(self):
        from actors.store.ledger import Ledger

        training, aside = self.journey(FakeGenerator(), FakeJudge()), self.journey(self.generator, self.judge)
        roll_out = recorded(aside.roll_out, Ledger.open(self.folder / "ledger"))
        stream = RolloutStream(self.recipe, [make_task(i) for i in range(12)], training.roll_out)
        evaluator = Evaluator(self.recipe.evaluation, HELDOUT, roll_out, {"semantic_gain": 0.5})
        log = await Log.start(self.recipe, console=Console(quiet=True))
        await self.policy.publish(self.sampler)
        try:
            await train(
                self.recipe, self.policy, self.sampler, stream, SideEvaluations(evaluator, aside.draw, log), log
            )
        finally:
            await log.close()

    @property
    def rows(self):
        return read_metrics(self.folder)


def test_answers_come_from_the_version_that_the_evaluation_began_with(tmp_path):
    scene = Scene(tmp_path, sampler=SlowSampler(0.01))
    asyncio.run(scene.run())
    versions = {(row["step"], row["policy_version"]) for row in read_ledger(tmp_path / "ledger")}
    assert versions == {(2, 2), (4, 4)}


def test_steps_go_on_while_an_evaluation_waits_for_its_judge(tmp_path):
    async def scenario():
        may_look = asyncio.Event()
        scene = Scene(tmp_path, judge=SlowJudge(may_look))
        running = asyncio.create_task(scene.run())
        while scene.policy.version < 6:
            await asyncio.sleep(0.001)
        assert not any("eval/reward" in row for row in scene.rows)
        may_look.set()
        await running
        return scene.rows

    rows = asyncio.run(scenario())
    evaluated = [(row["step"], row["eval/reward"]) for row in rows if "eval/reward" in row]
    assert sorted(step for step, _ in evaluated) == [2, 4]
    assert [row["step"] for row in rows if "reward/mean" in row] == [1, 2, 3, 4, 5, 6]


def test_an_evaluation_says_what_one_between_steps_would_have_said(tmp_path):
    asyncio.run(train_on_fakes(make_recipe(tmp_path / "loop", num_steps=6, evaluation=EVERY_2), FakePolicy()))
    asyncio.run(Scene(tmp_path / "scene").run())
    one, other = (
        {row["step"]: row["eval/reward"] for row in read_metrics(tmp_path / name) if "eval/reward" in row}
        for name in ("loop", "scene")
    )
    assert one.keys() == {2, 4}
    assert one == other


def test_a_void_evaluation_is_told_and_training_goes_on(tmp_path):
    scene = Scene(tmp_path, generator=FakeGenerator(failing=1.0))
    asyncio.run(scene.run())
    assert scene.policy.version == 6
    void = [row for row in scene.rows if "eval/failed_samples" in row]
    assert sorted((row["step"], row["eval/failed_samples"]) for row in void) == [(2, 10.0), (4, 10.0)]
    assert not any("eval/reward" in row for row in void)
    assert all(row["rollout/failure_share"] == 0.0 for row in scene.rows if "rollout/failure_share" in row)


def test_a_spent_budget_of_an_evaluation_ends_the_run(tmp_path):
    class Spent(FakeJudge):
        async def score(self, request):
            raise BudgetSpent("no dollar is left")

    with pytest.raises(BudgetSpent, match="no dollar is left"):
        asyncio.run(Scene(tmp_path, judge=Spent()).run())


def test_an_error_of_training_cancels_the_evaluation(tmp_path):
    class Breaking(FakePolicy):
        async def update(self, batch):
            if self.version == 3:
                raise RuntimeError("a rank died")
            return await super().update(batch)

    async def scenario():
        scene = Scene(tmp_path, judge=SlowJudge(asyncio.Event()), policy=Breaking())
        with pytest.raises(RuntimeError, match="a rank died"):
            await asyncio.wait_for(scene.run(), 5)
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(scenario()) == []
