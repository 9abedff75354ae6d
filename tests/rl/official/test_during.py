"""A benchmark beside training: the real loop on fakes, its own budget, and no step that waits for it."""

import asyncio
from dataclasses import replace

import pytest
from rich.console import Console

from actors.store.store import Store
from rewards.compose import WeightedSum
from rl.evaluation import Evaluator
from rl.official.during import Part, SideBenchmark, prepare_part
from rl.prepare import prepare
from rl.recipe.benchmark_config import BenchmarkConfig
from rl.recipe.config import REPO, EvaluationConfig
from rl.recipe.reader import load_recipe
from rl.side_evaluation import SideEvaluations
from rl.stream import RolloutStream
from rl.tracking.metrics_file import read_metrics
from rl.tracking.rl_log import Log
from rl.train import train
from rollout.roles import BudgetSpent
from rollout.single_step import SingleStep
from rollout.types import Batch, SamplingParams
from tests.support.benchmark_data import parrot, wise_row, write_wise
from tests.support.fake_asker import FakeAsker, broke
from tests.support.fakes import FakeGenerator, FakeJudge, FakePolicy, FakeSampler, make_task
from tests.support.storytelling import StorePainter
from tests.support.training import TERMS, make_recipe

NAME = "benchmark/wise_verified"


@pytest.fixture
def part(tmp_path) -> Part:
    rows = [wise_row(number, f"Score: {number % 2}") for number in range(1, 9)]
    data, checkout = write_wise(tmp_path / "wise", rows, is_verified=True)
    config = BenchmarkConfig("wise_verified", str(data), str(checkout), every=2, limit=6, tries=2)
    config = replace(config, judge=replace(config.judge, model="parrot", api_key_env="PATH"))
    return prepare_part(config, Store(tmp_path / "store"))


class Patient(FakePolicy):
    """Learns nothing in step 4 before the benchmark of step 2 is over: else that of step 4 would be left out."""

    async def update(self, batch: Batch) -> dict[str, float]:
        while self.version == 3 and any(task.get_name() == "benchmark of step 2" for task in asyncio.all_tasks()):
            await asyncio.sleep(0.01)
        return await super().update(batch)


async def trained(tmp_path, part, asker, *, num_steps=5, capture=None, policy=None):
    """Train by the real loop and return the rows of its metrics."""
    recipe = make_recipe(
        tmp_path / "run", num_steps=num_steps, evaluation=EvaluationConfig(num_tasks=0, num_tasks_during=1, every=1)
    )
    store, policy, sampler = Store(tmp_path / "store"), policy or FakePolicy(), FakeSampler()
    journey = SingleStep(
        sampler,
        FakeGenerator(),
        FakeJudge(),
        WeightedSum(TERMS),
        "<image><image>{instruction}{prompt}",
        SamplingParams(),
    )
    drawing = replace(journey, generator=StorePainter(store))
    log = await Log.start(recipe, console=capture or Console(quiet=True))
    beside = SideBenchmark(part, drawing, asker, tmp_path / "run/benchmark", store=store, log=log)
    evaluator = Evaluator(recipe.evaluation, [make_task(100)], journey.roll_out, {"semantic_gain": 0.5})
    stream = RolloutStream(recipe, [make_task(number) for number in range(12)], journey.roll_out)
    await policy.publish(sampler)
    try:
        evaluations = SideEvaluations(evaluator, journey.draw, log, beside)
        await train(recipe, policy, sampler, stream, evaluations, log)
    finally:
        await log.close()
    return read_metrics(tmp_path / "run")


def test_figures_stand_in_rows_of_their_own_steps(tmp_path, part):
    rows = asyncio.run(trained(tmp_path, part, FakeAsker(parrot), policy=Patient()))
    found = {row["step"]: row for row in rows if f"{NAME}/failed_share" in row}
    assert list(found) == [2, 4]
    assert found[2][f"{NAME}/overall"] == pytest.approx(4 / 6), "of 1, 2, 3, 5, 6 and 7, spread evenly"
    assert found[2][f"{NAME}/failed_share"] == 0
    assert found[2][f"{NAME}/first_version"] <= found[2][f"{NAME}/last_version"]
    assert "reward/mean" not in found[2]


def test_no_step_waits_for_it_and_one_is_left_out_while_another_is_under_way(tmp_path, part, capsys):
    class Late(FakeAsker):
        async def ask(self, question):
            while len([row for row in read_metrics(tmp_path / "run") if "reward/mean" in row]) < 5:
                await asyncio.sleep(0.01)
            return await super().ask(question)

    rows = asyncio.run(trained(tmp_path, part, Late(parrot), capture=Console()))
    assert [row["step"] for row in rows if f"{NAME}/overall" in row] == [2]
    assert "the benchmark of step 4 is left out" in capsys.readouterr().out


def test_a_spent_budget_ends_the_figures_and_not_the_training(tmp_path, part, capsys):
    rows = asyncio.run(trained(tmp_path, part, FakeAsker(broke), capture=Console(width=200)))
    assert max(row["step"] for row in rows) == 5
    assert not any(f"{NAME}/overall" in row for row in rows)
    assert (
        "the benchmark of step 2 has no figures: BudgetSpent: the budget of judge is spent" in capsys.readouterr().out
    )


def test_by_default_there_is_none(tmp_path):
    places = [f"run_dir={tmp_path / 'run'}", f"store={tmp_path / 'store'}"]
    assert prepare(load_recipe(REPO / "recipes" / "shapes_grpo.yaml", places)).benchmark is None
    assert list(make_recipe(tmp_path).roles) == ["policy", "samplers", "generator", "judge", "workers"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": "wise"}, "benchmark.name is wise: set benchmark.data, a folder"),
        ({"name": "wsie"}, "benchmark.name"),
        ({"every": 0}, "benchmark.every"),
    ],
)
def test_bad_settings_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        BenchmarkConfig(**changes)


def test_it_comes_with_evaluations(tmp_path, part):
    with pytest.raises(ValueError, match=r"benchmark\.every is 2, evaluation\.every 0: expected a multiple of it"):
        make_recipe(tmp_path, benchmark=part.config)
    with pytest.raises(ValueError, match=r"evaluation\.every 4"):
        make_recipe(tmp_path, benchmark=part.config, evaluation=EvaluationConfig(every=4))


def test_stories_need_a_planner(tmp_path, part):
    with pytest.raises(ValueError, match=r"benchmark\.name is ueval, which asks for stories; RL has no planner"):
        prepare_part(replace(part.config, name="ueval"), Store(tmp_path))


def test_a_run_that_ends_by_an_error_does_not_wait(tmp_path, part):
    class Forever(FakeAsker):
        async def ask(self, question):
            await asyncio.Event().wait()
            return {}

    class Spent(FakeGenerator):
        async def edit(self, request):
            if len(self.requests) > 60:
                raise BudgetSpent("the budget of generator is spent")
            return await super().edit(request)

    async def run():
        recipe = make_recipe(tmp_path / "run", num_steps=50, evaluation=EvaluationConfig(num_tasks_during=1, every=1))
        store, policy, sampler = Store(tmp_path / "store"), FakePolicy(), FakeSampler()
        journey = SingleStep(
            sampler, Spent(), FakeJudge(), WeightedSum(TERMS), "<image><image>{instruction}{prompt}", SamplingParams()
        )
        log = await Log.start(recipe, console=Console(quiet=True))
        drawing = replace(journey, generator=StorePainter(store))
        beside = SideBenchmark(part, drawing, Forever(parrot), tmp_path / "b", store=store, log=log)
        evaluator = Evaluator(recipe.evaluation, [make_task(100)], journey.roll_out, {"semantic_gain": 0.5})
        stream = RolloutStream(recipe, [make_task(number) for number in range(12)], journey.roll_out)
        await policy.publish(sampler)
        try:
            with pytest.raises(BudgetSpent):
                await train(recipe, policy, sampler, stream, SideEvaluations(evaluator, journey.draw, log, beside), log)
        finally:
            await log.close()

    asyncio.run(asyncio.wait_for(run(), 60))
