"""Steps that take what is complete first: nothing is lost, nothing becomes too old, nobody waits for the longest."""

import asyncio
import random

import pytest

from actors.config import LossConfig
from actors.store.learned import read_learned
from rl.first_complete import FirstComplete
from rl.recipe.config import AlgorithmConfig, Recipe, RewardConfig, RolloutConfig
from rl.tracking.metrics_file import read_metrics
from rollout.types import Evidence, Group, Response, Reward, Sample
from tests.support.fakes import FakePolicy, FakeSampler, make_task
from tests.support.training import TERMS, make_recipe, train_on_fakes

SIZE = 4
OFF_POLICY = AlgorithmConfig(loss=LossConfig(rollout_correction="token"))


def make(max_staleness: int, first_complete: int, num_steps: int) -> Recipe:
    return Recipe(
        name="fake",
        num_steps=num_steps,
        max_staleness=max_staleness,
        reward=RewardConfig(TERMS),
        algorithm=OFF_POLICY,
        rollout=RolloutConfig(groups_per_step=SIZE, n=2, first_complete=first_complete),
    )


class World:
    """Groups that take as long as told; their samples are as old as the step that was consumed when they began."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.stream = None

    async def roll_out(self, request):
        version = self.stream.consumed
        length = self.seconds(request)
        await asyncio.sleep(length / 2000)
        evidence = Evidence(request.task, Response((1,), (7,) * length, "", (0.0,) * length, version), None)
        samples = (Sample(request.task.id, i, 0, evidence, Reward({}, float(i)), None) for i in range(2))
        return Group(request.task, tuple(samples), request.step)

    def steps(self, recipe, *, first_step=1, learned=()):
        """Return (groups, metrics) of each step."""

        async def run():
            tasks = [make_task(i) for i in range(SIZE * recipe.num_steps)]
            self.stream = FirstComplete(recipe, tasks, self.roll_out, first_step=first_step, learned=learned)
            found = []
            async with self.stream as stream:
                async for step, groups in stream:
                    found.append((groups, dict(stream.metrics)))
                    await asyncio.sleep(0.0005)
                    stream.advance(step)
            return found

        return asyncio.run(run())


def ages(found, first_step=1):
    return [
        step - 1 - sample.evidence.response.policy_version
        for step, (groups, _) in enumerate(found, first_step)
        for group in groups
        for sample in group.samples
    ]


def keys(found):
    return [(group.step, group.task.id) for groups, _ in found for group in groups]


@pytest.mark.parametrize(("max_staleness", "first_complete"), [(1, 1), (1, SIZE), (2, 3), (3, 2)])
def test_each_group_is_learned_from_once_and_none_too_old(max_staleness, first_complete):
    dice = random.Random(max_staleness)
    recipe = make(max_staleness, first_complete, num_steps=12)
    found = World(lambda request: dice.choice([1, 1, 2, 9])).steps(recipe)
    assert [len(groups) for groups, _ in found] == [SIZE] * 12
    assert len(set(keys(found))) == len(keys(found)) == SIZE * 12
    assert max(ages(found)) <= max_staleness


def test_a_long_group_is_left_out_and_learned_from_in_the_next_step():
    recipe = make(1, 1, num_steps=4)
    asked = []

    def seconds(request):
        asked.append(request.task.id)
        return 20 if request.task.id == asked[0] else 1

    found = World(seconds).steps(recipe)
    taken = [[group.task.id for group in groups] for groups, _ in found]
    assert asked[0] not in taken[0]
    assert asked[SIZE] in taken[0]  # of step 2, begun with those of step 1
    assert asked[0] in taken[1]
    assert [metrics["rollout/left_out_groups"] for _, metrics in found] == [0.0, 1.0, 0.0, 0.0]
    assert found[1][1]["rollout/left_out_mean_tokens"] == 20.0


def test_a_resumed_run_begins_what_was_not_learned_from():
    recipe = make(2, 3, num_steps=8)
    dice = random.Random(0)
    world = World(lambda request: dice.choice([1, 1, 2, 9]))
    before = world.steps(recipe)[:4]
    rest = world.steps(recipe, first_step=5, learned=keys(before))
    assert sorted(keys(before) + keys(rest)) == sorted(keys(world.steps(recipe)))
    assert max(ages(rest, first_step=5)) <= 2


def test_an_error_of_a_group_ends_the_stream():
    def fail(request):
        raise RuntimeError("the workers are gone")

    with pytest.raises(RuntimeError, match="the workers are gone"):
        World(fail).steps(make(1, 1, num_steps=4))


@pytest.mark.parametrize("max_staleness", [0, 1, 2])
def test_the_ledger_tells_how_old_each_learned_sample_was(tmp_path, max_staleness):
    class SlowPolicy(FakePolicy):
        async def update(self, batch):
            await asyncio.sleep(0.01)
            return await super().update(batch)

    recipe = make_recipe(tmp_path, num_steps=8, max_staleness=max_staleness, algorithm=OFF_POLICY)
    asyncio.run(train_on_fakes(recipe, SlowPolicy(lr=0.01), FakeSampler(garbage=0.1)))
    rows = list(read_learned(tmp_path / "ledger"))
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["version"] for row in rows] == list(range(8))
    behind = [age for row in rows for group in row["groups"] for age in group["behind"]]
    assert len(behind) == 8 * 32
    assert max(behind) == max_staleness
    assert min(behind) == 0
    metrics = read_metrics(tmp_path)
    assert all(("rollout/starved_share" in row) == (max_staleness > 0) for row in metrics)
    assert all(("rollout/steps_ahead" in row) == (max_staleness > 0) for row in metrics)
