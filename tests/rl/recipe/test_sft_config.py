"""Recipes of SFT: what they extend, what is refused and how."""

import pytest

from rl.recipe.config import REPO
from rl.recipe.reader import load_as, to_yaml
from rl.recipe.resumable import forbidden_changes
from rl.recipe.sft_config import SftRecipe
from rl.run_dir.resume import check_run_dir
from tests.support.interrupted_run import learn_until

FULL = REPO / "recipes" / "critic_sft.yaml"


@pytest.mark.parametrize("name", ["critic_sft", "planner_sft", "shapes_critic_sft"])
def test_our_recipes_load(name, tmp_path):
    recipe = load_as(SftRecipe, REPO / "recipes" / f"{name}.yaml")
    assert recipe.name == name
    (tmp_path / "resolved.yaml").write_text(to_yaml(recipe))
    assert load_as(SftRecipe, tmp_path / "resolved.yaml") == recipe


def test_the_papers_numbers_are_in_the_full_size_recipes():
    for recipe in (load_as(SftRecipe, FULL), load_as(SftRecipe, FULL.with_name("planner_sft.yaml"))):
        policy = recipe.policy
        assert (policy.lr, policy.lr_schedule, policy.freeze_vision, recipe.warmup_share) == (2e-5, "cosine", True, 0.1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("batchsize=3", r"unknown key batchsize; did you mean batch_size\?"),
        ("policy.lrr=1", r"unknown key policy.lrr; did you mean lr\?"),
        ("data.kind=rl", "data.kind is 'rl'; expected critic_sft or planner_sft"),
        ("data.on_bad=ignore", "expected raise or skip"),
        ("data.prefixes=[a]", "expected old=new"),
        ("batch_size=0", "batch_size is 0; expected a whole number, 1 or more"),
        ("num_epochs=0", "num_epochs is 0.0; expected a number above 0"),
        ("warmup_share=2", "expected a share from 0 to 1"),
        ("evaluation.best=eval/same_num_steps", "of critic_sft it may be eval/loss, eval/parse_rate"),
        ("evaluation.num_answers=0", "set how many are answered"),
        ("evaluation.every=-1", "evaluation.every is -1; expected a whole number, 0 or more"),
        ("generator.model=x", "unknown key generator"),
    ],
)
def test_bad_input_is_explained(override, message):
    with pytest.raises(ValueError, match=message):
        load_as(SftRecipe, FULL, [override])


def test_the_last_step_is_evaluated_and_saved():
    recipe = load_as(SftRecipe, FULL, ["num_steps=10", "evaluation.every=4", "save_every=0"])
    assert [step for step in range(1, 11) if recipe.evaluates_at(step)] == [4, 8, 10]
    assert [step for step in range(1, 11) if recipe.saves_at(step)] == [10]


def test_the_warm_up_is_a_share_or_a_number():
    recipe = load_as(SftRecipe, FULL, ["num_steps=50"])
    assert recipe.num_warmup_steps == 5
    assert load_as(SftRecipe, FULL, ["num_steps=50", "policy.warmup_steps=8"]).num_warmup_steps == 8


def test_a_resumed_run_may_not_learn_otherwise():
    recipe = load_as(SftRecipe, FULL)
    other = load_as(SftRecipe, FULL, ["batch_size=8", "policy.lr=1", "tracking.backends=[]", "save_every=1"])
    assert forbidden_changes(recipe, other) == ["batch_size", "policy.lr"]


def test_a_run_is_resumed_by_its_own_recipe(tmp_path):
    run_dir = f"run_dir={tmp_path}/run"
    recipe = load_as(SftRecipe, FULL, [run_dir, "num_steps=5"])
    with pytest.raises(ValueError, match="holds no run to resume"):
        check_run_dir(recipe, True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(to_yaml(recipe))
    (tmp_path / "run" / "metrics.jsonl").touch()
    with pytest.raises(ValueError, match="holds a run already; add --resume"):
        check_run_dir(recipe, False)
    check_run_dir(load_as(SftRecipe, FULL, [run_dir, "num_steps=9"]), True)
    learn_until(tmp_path / "run", 5)
    with pytest.raises(ValueError, match="was started with a different batch_size"):
        check_run_dir(load_as(SftRecipe, FULL, [run_dir, "batch_size=9"]), True)
