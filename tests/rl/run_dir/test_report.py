"""The run's page, from a run on fakes."""

import asyncio
import json
import math
from dataclasses import replace

from PIL import Image
from rich.console import Console

from actors.store.ledger import Ledger
from actors.store.store import Store
from rewards.compose import WeightedSum
from rl.evaluation import Change, Evaluation, Evaluator, compare
from rl.kept_checkpoints import BestSaved
from rl.run_dir.report import NAMES, table_rows, write_report
from rl.tracking.metrics_file import append_metrics, read_metrics
from rl.tracking.rl_log import Log
from rollout.single_step import SingleStep
from rollout.types import Phase, SamplingParams
from tests.support.fakes import FakeJudge, FakeSampler, make_task
from tests.support.finished_run import NUM_STEPS, finished_run
from tests.support.stored_squares import StoredSquares
from tests.support.training import TERMS, make_recipe, recorded


def test_the_page_shows_table_curves_and_examples(tmp_path):
    store = Store(tmp_path / "store")
    rejected = store.put_image(Image.new("RGB", (8, 8)))
    tasks = [replace(make_task(i), after=rejected, instruction="<b>a box</b>") for i in range(20)]
    step = SingleStep(
        FakeSampler(), StoredSquares(store), FakeJudge(), WeightedSum(TERMS), "<image><image>", SamplingParams()
    )
    recipe = make_recipe(tmp_path / "run")
    roll_out = recorded(step.roll_out, Ledger.open(tmp_path / "run" / "ledger", store=store))
    evaluator = Evaluator(recipe.evaluation, tasks, roll_out, {"semantic_gain": 0.5})

    async def follow() -> Evaluation:
        evaluation = await evaluator(0, Phase.BEFORE)
        await evaluator(0, Phase.AFTER, 2)
        log = await Log.start(recipe, console=Console(quiet=True))
        await log.evaluation(evaluation, Phase.BEFORE, step=0)
        for number in (1, 2):
            async with log.step(number):
                await log.groups(evaluation.groups)
        log.metrics({"generator/calls": 7.0})
        await log.evaluation(evaluation, Phase.AFTER, step=2)
        await log.close()
        return evaluation

    evaluation = asyncio.run(follow())
    after = read_metrics(tmp_path / "run")[-1]
    assert after["generator/calls"] == 7.0  # what was logged between the steps ...
    assert "rollout/samples" not in after  # ... without the last step's own
    (tmp_path / "run" / "recipe.yaml").write_text("name: fake")
    (tmp_path / "run" / "versions.json").write_text(json.dumps({"python": "3.11"}))

    page = write_report(tmp_path / "run", store, compare(evaluation, evaluation)).read_text()

    assert page.count('class="example"') == 12
    assert "<svg" in page
    assert "failed tasks fixed" in page
    assert "&lt;b&gt;a box&lt;/b&gt;" in page  # what a task says is text, never markup
    assert 'src="http' not in page  # one file, without network
    assert "<link" not in page

    assert "Best checkpoint" not in page
    best = BestSaved(tmp_path / "run" / "checkpoints" / "step_000002", "eval/reward", 0.71234)
    page = write_report(tmp_path / "run", store, compare(evaluation, evaluation), best).read_text()
    assert "Best checkpoint: step_000002, by eval/reward 0.7123." in page

    store.image_path(rejected).unlink()
    page = write_report(tmp_path / "run", store, compare(evaluation, evaluation)).read_text()
    assert page.count('class="example"') == 0  # they all have that image; the table is there all the same
    assert "failed tasks fixed" in page


def test_the_page_shows_answers_of_the_first_and_the_last_step_and_every_metric(tmp_path):
    run = finished_run(tmp_path / "run", generator=StoredSquares(Store(tmp_path / "run" / "store")))
    (run.folder / "versions.json").write_text("{}")
    for step in range(1, NUM_STEPS + 1):
        append_metrics(
            run.folder, {"step": step, "reward/mean": step / 4, "policy/<b>": 1.0, "judge/nan": float("nan")}
        )

    page = write_report(run.folder, Store(run.folder / "store"), {}).read_text()

    assert "The run stopped before its last evaluation." in page
    assert "First step of training: 1<" in page
    assert f"Last step of training: {NUM_STEPS}<" in page
    assert "Last step of training: 2<" not in page
    assert page.count('<div class="example">') == 4
    assert page.count("<b>response 0</b>") == 4
    assert "reward/mean 0.25 to 0.75" in page  # what a reader without eyes is told of the curve
    assert "policy (1)" in page
    assert "policy/&lt;b&gt;" in page
    assert "<b>policy" not in page
    assert "judge (0)" not in page
    assert "Content-Security-Policy" in page


def test_a_figure_that_there_is_not_is_a_dash_in_the_table():
    nothing, whole = Change(math.nan, math.nan, math.nan, math.nan), Change(0.5, 0.75, 0.125, 0.375)
    rows = table_rows(dict.fromkeys(NAMES, whole) | {"semantic_gain": nothing})
    assert rows[0][1:] == ["0.500", "0.750", "+0.250", "+0.125 to +0.375"]
    assert rows[1][1:] == ["-"] * 4
