"""The teachers of a build: which a recipe has, where they run, and what its log may be continued with."""

import pytest

from actors.resources import needs_ray
from rl.data_build.config import BuildRecipe, is_resumable_change
from rl.data_build.teachers import ROLES, asked_of, check_teachers, teachers_of
from rl.recipe.config import REPO
from rl.recipe.reader import load_as

CRITIC = "recipes/shapes/weights/critic"


def dagger(*overrides: str) -> BuildRecipe:
    given = (f"critic.model={CRITIC}", "requests.file=r.txt", *overrides)
    return load_as(BuildRecipe, REPO / "recipes/build_shapes_dagger.yaml", list(given))


def test_a_critic_that_learns_runs_on_samplers_and_an_expert_corrects_it():
    recipe = dagger()
    assert set(recipe.roles) == {"critic.samplers", "generator", "judge"}
    assert needs_ray(recipe.roles)
    assert tuple(teachers_of(recipe)) == ROLES
    assert teachers_of(recipe)["critic"].model == str(REPO / CRITIC)
    told = check_teachers(recipe)
    assert told["expert"]["fn"].startswith("recipes.shapes.teacher.critique@")
    assert "@" in told["critic"]["model"]


def test_a_recipe_without_an_expert_has_none():
    recipe = load_as(BuildRecipe, REPO / "recipes/build_shapes.yaml", ["requests.file=r.txt"])
    assert tuple(teachers_of(recipe)) == ("planner", "critic")
    assert not needs_ray(recipe.roles)


def test_an_expert_that_is_asked_is_probed_before_anything_starts():
    recipe = dagger("expert.fn=''", "expert.ask.model=gpt-4.1")
    assert [asked.model for asked in asked_of(recipe).values()] == ["gpt-4.1"]
    assert "expert.ask" in recipe.roles


def test_a_checkpoint_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"critic\.model is \./none: there is no such folder"):
        check_teachers(dagger("critic.model=./none"))


def test_a_log_is_of_one_expert():
    assert not is_resumable_change("expert.fn")
    assert is_resumable_change("expert.ask.budget_usd")
