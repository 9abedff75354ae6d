"""A spent budget ends a run with all that was learned saved; with a larger one it goes on as if nothing had been."""

import asyncio

import pytest

from actors.store.store import Store
from rl import checkpoint, evaluation
from rl.cli import main as cli
from rl.recipe.config import EvaluationConfig
from rl.run_dir.report import write_report
from rl.tracking.metrics_file import read_metrics
from rollout.roles import BudgetSpent
from tests.support.fakes import FakeJudge, FakePolicy
from tests.support.interrupted_run import follow, saved_step, steps_of
from tests.support.training import make_recipe


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    monkeypatch.setattr(evaluation, "_NUM_RESAMPLES", 10)  # intervals are not what is tested here


class PaidJudge(FakeJudge):
    """May be asked so often."""

    def __init__(self, budget):
        super().__init__()
        self.budget = budget

    async def score(self, request):
        if len(self.requests) >= self.budget:
            raise BudgetSpent(f"{self.budget} of {self.budget} calls are made")
        scores = await super().score(request)
        await asyncio.sleep(0)
        return scores


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 2])
def test_the_last_step_that_was_learned_from_is_saved_and_gone_on_from(tmp_path, every):
    """Slow: whole runs."""

    def recipe(name):
        settings = EvaluationConfig(num_tasks=0, num_tasks_during=0, every=every, num_seeds=2)
        return make_recipe(tmp_path / name, num_steps=8, evaluation=settings)

    whole = FakePolicy()
    asyncio.run(follow(recipe("whole"), whole, PaidJudge(10**6)))
    # Their images were made ready meanwhile, under the names by which an update asks for them.
    assert {row.images for batch in whole.batches for row in batch.rows} <= set(whole.prepared)
    # Ten looks before, 32 a step, ten an evaluation: the budget ends in step 5 or in the evaluation after step 4.
    interrupted = FakePolicy()
    with pytest.raises(BudgetSpent):
        asyncio.run(follow(recipe("run"), interrupted, PaidJudge(10 + 4 * 32 + 12 if every else 10 + 4 * 32 + 9)))
    assert saved_step(recipe("run")) == 4
    assert steps_of(recipe("run")) == [0, 1, 2, 3, 4]
    resumed = FakePolicy()
    assert asyncio.run(follow(recipe("run"), resumed, PaidJudge(10**6))) == 4
    assert resumed.logits == whole.logits
    assert steps_of(recipe("run")) == [0, *range(1, 9), 8]
    evaluated = [row["step"] for row in read_metrics(tmp_path / "run") if "eval/reward" in row]
    assert sorted(evaluated) == ([2, 4, 6] if every else [])  # the one of step 4 was made when the run went on


def test_an_update_that_is_done_when_an_evaluation_ends_the_run_is_not_done_again(tmp_path, monkeypatch):
    """What ends an evaluation is raised between an update and its publish: the checkpoint holds that update."""

    async def spent(self, step, drawing):
        await drawing
        raise BudgetSpent("20 of 20 calls are made")

    recipe = make_recipe(tmp_path, num_steps=5, evaluation=EvaluationConfig(num_tasks=2, num_tasks_during=1, every=2))
    interrupted = FakePolicy()
    with monkeypatch.context() as patch:
        patch.setattr("rl.side_evaluation.SideEvaluations._evaluate", spent)
        with pytest.raises(BudgetSpent):
            asyncio.run(follow(recipe, interrupted, FakeJudge()))
    assert saved_step(recipe) == interrupted.version
    resumed = FakePolicy()
    assert asyncio.run(follow(recipe, resumed, FakeJudge())) == interrupted.version
    assert len(interrupted.batches) + len(resumed.batches) == 5


def test_a_budget_that_is_spent_before_the_first_step_saves_nothing(tmp_path):
    recipe = make_recipe(tmp_path)
    with pytest.raises(BudgetSpent):
        asyncio.run(follow(recipe, FakePolicy(), PaidJudge(3)))
    assert not checkpoint.folder_of(recipe).exists()


def test_a_report_of_half_a_run_has_its_curves_and_says_so(tmp_path):
    recipe = make_recipe(tmp_path)
    with pytest.raises(BudgetSpent):
        asyncio.run(follow(recipe, FakePolicy(), PaidJudge(100)))
    (tmp_path / "recipe.yaml").write_text("name: fake")
    (tmp_path / "versions.json").write_text("{}")
    page = write_report(tmp_path, Store(tmp_path / "store"), {}).read_text()
    assert "stopped before its last evaluation" in page
    assert "<svg" in page


def test_the_command_ends_with_code_3_and_one_line_that_says_how_to_go_on(monkeypatch, capsys):
    def spent(chosen):
        raise BudgetSpent("the budget of judge is spent: 20 of 20 calls are made; raise its budget_calls and ...")

    monkeypatch.setattr(cli, "_train", spent)
    assert cli.main(["train", "recipe.yaml"]) == 3
    assert capsys.readouterr().err.count("\n") == 1
