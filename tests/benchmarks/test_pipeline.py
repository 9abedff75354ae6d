"""What `benchmarks/pipeline` runs and how it judges, without running anything."""

import asyncio
import inspect
import json
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from actors.store.store import Store
from benchmarks.pipeline.measure import Measured
from benchmarks.pipeline.roles import StandInEngine
from benchmarks.pipeline.scenario import (
    NUM_TASKS,
    SCHEDULES,
    N,
    Scenario,
    image_of,
    judge_scores,
    place_in,
    place_of,
    response_text,
)
from benchmarks.pipeline.verdict import Compared, Verdict
from rewards.compose import WeightedSum
from rl.plan.rules import Rules
from rl.plan.stage_times import Work
from rl.recipe.config import Recipe
from rl.stream import RolloutStream
from rl.task_sampler import TaskSampler
from rollout.single_step import SingleStep
from rollout.text.critique import parse_critique
from rollout.types import SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge

SCENARIO = Scenario(factor=10.0, num_steps=30)
BY_NAME = {schedule.name: schedule for schedule in SCHEDULES}


@cache
def reference(name, seed=0):
    """Return what a schedule comes to; to simulate it takes a tenth of a second."""
    return replace(SCENARIO, seed=seed).reference(BY_NAME[name])


def test_the_rules_are_the_recipes():
    common: dict[str, Any] = {
        "groups_per_step": 16,
        "n": 8,
        "groups_in_flight": 64,
        "sampler_places": 256,
        "generator_places": 8,
        "judge_places": 64,
        "judge_calls": 2,
    }
    assert SCENARIO.rules(BY_NAME["serial"]) == Rules(**common, is_serial=True)
    for k, name in enumerate(("streamed", "k=1", "k=2")):
        assert SCENARIO.rules(BY_NAME[name]) == Rules(**common, max_staleness=k)


@pytest.mark.slow
def test_without_overhead_the_schedules_would_be_so_much_faster():
    """About 1.34, 2.58 and 3.66 times as fast as the serial one, over seeds. Slow: seconds of computing."""
    speedups = Counter()
    for seed in range(4):
        serial, *others = (reference(name, seed).seconds for name in BY_NAME)
        speedups.update({k: serial / seconds / 4 for k, seconds in enumerate(others)})
    assert [speedups[k] for k in range(3)] == pytest.approx([1.34, 2.58, 3.66], rel=0.05)
    assert all(speedups[k] > schedule.bar for k, schedule in enumerate(SCHEDULES[1:]))


def test_a_samples_place_is_found_again_on_its_whole_way(tmp_path):
    store = Store(tmp_path)
    for place in [(1, 0, 0), (32, 15, 7), (300, 3, 1)]:
        critique = parse_critique(response_text(place))
        assert place_in(critique.refine_prompt) == place
        assert place_of(store.get_image(store.put_image(image_of(place)))) == place
    assert judge_scores((1, 2, 3), 0) == judge_scores((1, 2, 3), 0) != judge_scores((1, 2, 3), 1)
    assert all(0 <= score <= 10 for score in judge_scores((1, 2, 3), 1))


def test_the_places_of_seeds_are_those_of_the_stream(tmp_path):
    """By the position in its step's tasks, whose order is that of their ids."""
    scenario = Scenario(10.0, 2)
    recipe, tasks = scenario.recipe(BY_NAME["streamed"], tmp_path), scenario.tasks(tmp_path)
    draw, places = TaskSampler(tasks, recipe.rollout, recipe.seed), scenario.places()
    found = []

    class Sampler:
        def __init__(self, task):
            self.task = task

        async def sample(self, request):
            step, position, sample = places[request.seed]
            assert draw.tasks_of(step)[position] == self.task
            found.append((step, position, sample))
            raise ValueError("that is all")

    async def roll_out(request):
        reward = WeightedSum(recipe.reward.terms)
        journey = SingleStep(
            Sampler(request.task), FakeGenerator(), FakeJudge(), reward, "<image><image>", SamplingParams()
        )
        return await journey.roll_out(request)

    async def go_through() -> None:
        async with RolloutStream(recipe, tasks, roll_out) as stream:
            async for step, _ in stream:
                stream.advance(step)

    asyncio.run(go_through())
    assert sorted(found) == [
        (step, task, sample)
        for step in range(1, recipe.num_steps + 1)
        for task in range(NUM_TASKS)
        for sample in range(N)
    ]


def compared(name, ratio=1.0, changed=None) -> Compared:
    schedule, ideal = BY_NAME[name], reference(name)
    start = 1000.0
    warm = [start + number for number in range(schedule.warm_steps + 1)]
    step = ideal.seconds * ratio / SCENARIO.num_steps
    ends = warm + [warm[-1] + step * number for number in range(1, SCENARIO.num_steps + 1)]
    rewards = {(1, "task-00", sample): (f"answer {sample}", sample / 8) for sample in range(8)}
    return Compared(schedule, Measured(ends, ends, ends, ends, rewards | (changed or {}), Counter({0: 8})), ideal)


def verdict(*all_compared) -> Verdict:
    return Verdict(SCENARIO, {one.schedule.name: one for one in all_compared})


def test_a_run_near_its_references_misses_nothing(tmp_path):
    found = verdict(*(compared(name, ratio=1.02) for name in BY_NAME))
    assert found.missed() == []
    found.save(tmp_path / "pipeline.json")
    saved = json.loads((tmp_path / "pipeline.json").read_text())
    assert saved["schedules"]["k=2"]["ratio"] == pytest.approx(1.02)
    assert saved["schedules"]["k=2"]["speedup"] == pytest.approx(saved["schedules"]["k=2"]["ideal_speedup"])
    assert len(saved["schedules"]["k=2"]["step_ends"]) == 33


@pytest.mark.parametrize(
    ("spoiled", "complaint"),
    [
        (compared("k=1", ratio=1.06), r"k=1: measured / reference is 1.060"),
        (compared("k=1", ratio=0.98), r"k=1: measured / reference is 0.980"),
        (compared("k=1", ratio=1.2), r"k=1: 2\.\d\d times as fast as serial, less than 2.35"),
        (compared("k=1", changed={(1, "task-00", 3): ("answer 3", 0.9)}), "reward 1 samples differently"),
        (compared("k=1", changed={(1, "task-00", 3): ("another", 3 / 8)}), "reward 1 samples differently"),
    ],
)
def test_what_is_amiss_is_told(spoiled, complaint):
    missed = verdict(compared("serial"), spoiled).missed()
    assert any(re.search(complaint, text) for text in missed), missed


def test_a_lost_sample_is_told():
    one = compared("streamed")
    one.measured.wrong.append("127 of 128 samples have a reward")
    assert verdict(one).missed() == ["streamed: 127 of 128 samples have a reward"]


def test_latencies_are_drawn_for_each_place_and_divided_by_the_factor():
    whole, tenth = Scenario(1.0, 30).times, SCENARIO.times
    for work in Work:
        assert tenth.seconds(work, 3, 2, 1) == pytest.approx(whole.seconds(work, 3, 2, 1) / 10)
    assert whole.seconds(Work.GENERATE, 3, 2, 1) == 0.9
    assert whole.seconds(Work.UPDATE, 3) == 30.0
    assert whole.seconds(Work.JUDGE, 3, 2, 1, 0) != whole.seconds(Work.JUDGE, 3, 2, 1, 1)


def test_a_recipe_is_whole(tmp_path):
    for schedule in SCHEDULES:
        recipe = SCENARIO.recipe(schedule, tmp_path)
        assert isinstance(recipe, Recipe)
        assert recipe.num_steps == 30 + schedule.max_staleness + 1


@pytest.mark.parametrize("asked", ["ready", "has_weights", "sample", "stats"])
def test_a_stand_in_answers_whatever_the_driver_asks_of_an_engine(asked):
    """On a busy machine, too: where a step takes long, it asks whether an engine has weights."""
    assert inspect.iscoroutinefunction(getattr(StandInEngine, asked))
