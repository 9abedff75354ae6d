"""A foreign reward inside real rollout workers."""

import asyncio
import re
import time
from dataclasses import replace

import pytest

from actors.cluster import ray_cluster
from actors.config import RolloutWorkersConfig
from actors.rollout_worker import RolloutWorkers
from actors.user_functions.runner import RewardRunner
from rewards.compose import TermConfig
from rollout.single_step import SingleStep
from rollout.types import GroupRequest, SamplingParams, Stage
from tests.support.fakes import FakeGenerator, FakeJudge, FakeSampler, make_task
from tests.support.processes import is_dead


@pytest.mark.slow
def test_workers_reward_by_a_function_that_hangs_and_take_it_along_when_they_die(tmp_path):
    """Slow: starts Ray and two worker processes."""
    runner = RewardRunner([TermConfig("tests.support.foreign_rewards.obedient", timeout_s=5.0)])
    journey = SingleStep(FakeSampler(), FakeGenerator(), FakeJudge(), runner, "<image><image>", SamplingParams())
    note = tmp_path / "pid"

    async def scenario():
        async with ray_cluster("", 4):
            workers = await RolloutWorkers.start(RolloutWorkersConfig(num_workers=2, groups_per_worker=4), journey)
            deeds = ("go", "hang", "nan", "go")
            groups = await asyncio.gather(*(roll_out(workers, number, deed) for number, deed in enumerate(deeds)))
            left = asyncio.create_task(roll_out(workers, 9, f"leave {note}"))
            await until(lambda: note.exists() and note.read_text())
            pid = int(note.read_text())
            await workers.stop()
            await until(lambda: is_dead(pid))
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
            return groups

    def roll_out(workers, number, deed):
        task = replace(make_task(number), instruction=deed)
        return workers.roll_out(GroupRequest(task, 2, 0, (7,)))

    first, hung, nan, last = asyncio.run(scenario())
    assert first.rewards == last.rewards == [1.0, 1.0]
    failures = [sample.failure for group in (hung, nan) for sample in group.samples]
    assert {failure.stage for failure in failures} == {Stage.REWARD}
    assert "no answer within 5 s" in failures[0].error
    assert "returned nan" in failures[-1].error


async def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            "tests.support.foreign_rewards.nothing",
            "tests.support.foreign_rewards.nothing: tests.support.foreign_rewards has no nothing",
        ),
        ("tests.support.foreign_rewards.verdict", "is declared to return bool; a reward is a float"),
        ("tests.support.foreign_rewards.beauty", "needs the evidence 'aesthetic', which the recipe does not gather"),
    ],
)
def test_a_reward_that_cannot_work_is_refused_before_anything_starts(tmp_path, fn, message):
    """Slow: imports the whole stack."""
    from rl.prepare import prepare
    from rl.recipe.config import REPO
    from rl.recipe.reader import load_recipe

    recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml", [f"reward=[{{fn: {fn}}}]", f"run_dir={tmp_path}"])
    with pytest.raises(ValueError, match=re.escape(message)):
        prepare(recipe)
