"""A recipe of another command is named as such."""

import pytest

from rl.cli.main import main
from rl.recipe.config import Recipe
from rl.recipe.kinds import check_kind
from rl.recipe.reader import load_as, load_recipe
from rl.recipe.sft_config import SftRecipe


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("story", "a recipe of stories, for `interleave generate, serve and eval stories`"),
        ("shapes_planner_story", "a recipe of stories"),
        ("critic_sft", "a recipe of SFT, for `interleave sft`"),
        ("build_data", "a recipe of data, for `interleave data build`"),
        ("shapes/ablation", "a recipe of ablations, for `interleave ablate`"),
    ],
)
def test_a_recipe_of_another_kind_names_its_command(recipe, said, capsys):
    assert main(["train", recipe, "no_key=1"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"{recipe}.yaml: unknown key " in line
    assert said in line


def test_a_recipe_of_rl_is_none_of_sft():
    with pytest.raises(
        ValueError, match=r"critic_grpo.yaml: unknown key .*: this is a recipe of RL, for `interleave train`"
    ):
        load_as(SftRecipe, "critic_grpo")


def test_a_key_too_many_is_still_that(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: critic_grpo.yaml\nname: mine\ntries: 3\n")
    with pytest.raises(ValueError, match=r"unknown key tries; did you mean benchmark\.tries"):
        load_recipe(tmp_path / "mine.yaml")


def test_keys_of_its_own_and_of_no_kind_pass():
    check_kind(Recipe, ["name", "rollout"], "mine.yaml")
    check_kind(Recipe, ["name", "rolout"], "mine.yaml")
