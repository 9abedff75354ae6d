"""Which checkpoints stay: the newest ones, and the best by held-out evaluations."""

import asyncio
import math

import pytest

from rl import checkpoint
from rl.evaluation import FIGURES
from rl.kept_checkpoints import best_checkpoint
from rl.recipe.config import EvaluationConfig
from rl.recipe.keep_best import RL_FIGURES
from rl.recipe.sft_config import SftEvaluationConfig, SftRecipe
from rl.tracking.metrics_file import append_metrics, drop_metrics_after, read_metrics
from tests.support.fakes import FakePolicy
from tests.support.training import make_recipe, train_on_fakes

EVERY_STEP = {"save_every": 1, "evaluation": EvaluationConfig(num_tasks=0, every=1)}


def saved(folder) -> list[int]:
    return sorted(int(path.name.removeprefix("step_")) for path in (folder / "checkpoints").glob("step_*"))


def save(recipe, folder, values, figure="eval/reward") -> None:
    """Evaluate and save steps, as a run does."""
    for step, value in values.items():
        append_metrics(folder, {"step": step, figure: value})
        asyncio.run(checkpoint.save(recipe, FakePolicy(), step))


@pytest.mark.parametrize(("num", "stay"), [(1, [4]), (3, [2, 3, 4]), (9, [1, 2, 3, 4])])
def test_as_many_of_the_newest_stay_as_the_recipe_says(tmp_path, num, stay):
    save(make_recipe(tmp_path, keep_checkpoints=num), tmp_path, dict.fromkeys((1, 2, 3, 4), 0.0))
    assert saved(tmp_path) == stay
    assert not (tmp_path / "checkpoints" / "best").exists()


def test_the_best_stays_however_old_and_the_oldest_of_equals(tmp_path):
    recipe = make_recipe(tmp_path, keep_best="eval/reward", **EVERY_STEP)
    save(recipe, tmp_path, {1: 0.2, 2: 0.7, 3: math.nan, 4: 0.7, 5: 0.1, 6: 0.3})
    assert saved(tmp_path) == [2, 5, 6]
    assert (tmp_path / "checkpoints" / "best").read_text() == "step_000002"
    assert str(best_checkpoint(recipe)) == f"{tmp_path}/checkpoints/step_000002  eval/reward 0.7"
    save(recipe, tmp_path, {7: 0.8, 8: 0.0, 9: 0.0})
    assert saved(tmp_path) == [7, 8, 9]


def test_a_loss_is_best_where_it_is_least(tmp_path):
    recipe = SftRecipe(name="sft", run_dir=str(tmp_path), keep_checkpoints=1, keep_best="eval/loss")
    save(recipe, tmp_path, {1: 0.9, 2: 0.4, 3: 0.5, 4: 0.6}, "eval/loss")
    assert saved(tmp_path) == [2, 4]


def test_what_was_not_evaluated_is_not_the_best(tmp_path):
    recipe = make_recipe(tmp_path, keep_best="eval/reward", **EVERY_STEP)
    asyncio.run(checkpoint.save(recipe, FakePolicy(), 1))
    assert best_checkpoint(recipe) is None
    assert best_checkpoint(make_recipe(tmp_path)) is None
    save(recipe, tmp_path, {2: -1.0})
    assert (tmp_path / "checkpoints" / "best").read_text() == "step_000002"


def test_a_run_goes_on_from_its_best_where_latest_is_made_to_name_it(tmp_path):
    recipe = make_recipe(tmp_path, keep_checkpoints=1, keep_best="eval/reward", **EVERY_STEP)
    save(recipe, tmp_path, {1: 0.1, 2: 0.7, 3: 0.2, 4: 0.3})
    (tmp_path / "checkpoints" / "latest").write_text((tmp_path / "checkpoints" / "best").read_text())
    assert asyncio.run(checkpoint.resume(recipe, FakePolicy())) == 2
    drop_metrics_after(tmp_path, 2)
    save(recipe, tmp_path, {3: 0.4})
    assert saved(tmp_path) == [2, 3]  # the fourth belongs to what is made again
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step_000003"


def test_a_real_loop_keeps_the_best_of_its_evaluations(tmp_path):
    evaluation = EvaluationConfig(num_tasks=0, num_tasks_during=0, every=2)
    recipe = make_recipe(
        tmp_path, num_steps=9, save_every=2, keep_checkpoints=1, keep_best="eval/semantic_gain", evaluation=evaluation
    )
    asyncio.run(train_on_fakes(recipe, FakePolicy(lr=-0.2)))  # it gets worse
    values = {row["step"]: row["eval/semantic_gain"] for row in read_metrics(tmp_path) if "eval/semantic_gain" in row}
    assert sorted(values) == [2, 4, 6, 8]
    best = max(sorted(values), key=lambda step: values[step])
    assert best < 8
    assert saved(tmp_path) == [best, 9]


def test_the_figures_are_those_of_evaluations():
    assert [f"eval/{name}" for name in FIGURES] == list(RL_FIGURES)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"keep_best": "eval/rewards"}, r"keep_best is 'eval/rewards', which no evaluation has.*eval/reward"),
        ({"keep_best": "eval/fixed"}, r"no checkpoint has it: save_every is 0, evaluation.every 0, num_steps 20"),
        ({"keep_best": "eval/fixed", "save_every": 15, "evaluation": EvaluationConfig(every=10)}, "save_every is 15"),
        ({"keep_checkpoints": 0}, "keep_checkpoints is 0"),
    ],
)
def test_what_can_keep_nothing_is_refused_in_one_line(tmp_path, changes, told):
    with pytest.raises(ValueError, match=told) as caught:
        make_recipe(tmp_path, **changes)
    assert "\n" not in str(caught.value)


def test_figures_of_answers_need_answers():
    with pytest.raises(ValueError, match=r"keep_best is 'eval/parse_rate'.*known are eval/loss"):
        SftRecipe(name="sft", keep_best="eval/parse_rate", evaluation=SftEvaluationConfig(num_answers=0))
