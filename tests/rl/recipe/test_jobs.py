"""The base of all recipes: the keys that every job has, and recipes that were resolved before there was one."""

import dataclasses

import pytest
import yaml
from omegaconf import OmegaConf

from rl.data_build.config import BuildRecipe
from rl.recipe.config import REPO, Recipe
from rl.recipe.jobs import JobRecipe, RunRecipe, TrainingRecipe
from rl.recipe.reader import load_as, to_yaml
from rl.recipe.sft_config import SftRecipe
from rl.serve import ServeRecipe
from rl.story.config import StoryRecipe

JOB = {"name", "store", "store_is_shared", "store_limit_gib", "ledger", "num_cpus", "ray_address"}


def keys_of(kind: type) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


def test_every_recipe_is_a_job_with_the_same_keys():
    for kind in (Recipe, SftRecipe, StoryRecipe, ServeRecipe, BuildRecipe):
        assert keys_of(kind) >= JOB, kind
    assert keys_of(JobRecipe) == JOB
    assert issubclass(Recipe, TrainingRecipe)
    assert issubclass(SftRecipe, TrainingRecipe)
    assert issubclass(BuildRecipe, RunRecipe)
    assert issubclass(ServeRecipe, RunRecipe)
    assert not issubclass(StoryRecipe, RunRecipe)


@pytest.mark.parametrize(
    ("kind", "name"), [(SftRecipe, "critic_sft"), (StoryRecipe, "story"), (BuildRecipe, "build_data")]
)
def test_a_recipe_that_was_resolved_without_the_newer_keys_is_the_same(kind, name, tmp_path):
    recipe = load_as(kind, REPO / "recipes" / f"{name}.yaml")
    content = yaml.safe_load(to_yaml(recipe))
    (tmp_path / "old.yaml").write_text(
        yaml.safe_dump(
            {
                key: value
                for key, value in content.items()
                if key not in ("store_is_shared", "store_limit_gib", "ledger")
            }
        )
    )
    assert load_as(kind, tmp_path / "old.yaml") == recipe


def test_defaults_stay_what_they_were():
    assert (StoryRecipe.num_cpus, BuildRecipe.num_cpus, SftRecipe.num_steps, Recipe.num_steps) == (8, 16, 0, 100)
    assert (ServeRecipe.name, Recipe.run_dir, Recipe.store) == ("serve", "runs/${name}", "runs/store")


def test_a_resolved_recipe_is_written_as_omegaconf_writes_it():
    """Below its first line. Texts that look like something else, marks, line breaks, other scripts, tuples."""
    texts = ["on", "1_0", "1e3", "null", "~", "", " a ", "a: b # c", "x\n\ty\n", "é 日 😀 \u2028 \x85", "w " * 80]
    options = {"texts": texts, "nested": {"a": [{"b": None, "c": True, "d": 1.5e-9}], "e": {}, "f": []}}
    recipe = load_as(Recipe, REPO / "recipes" / "shapes_grpo.yaml", ["policy.betas=[0.8, 0.99]"])
    recipe = dataclasses.replace(recipe, generator=dataclasses.replace(recipe.generator, call=options))
    assert to_yaml(recipe).partition("\n")[2] == OmegaConf.to_yaml(dataclasses.asdict(recipe), resolve=True)


@pytest.mark.parametrize(
    ("kind", "name"), [(Recipe, "shapes_grpo"), (Recipe, "critic_grpo"), (SftRecipe, "critic_sft")]
)
def test_a_resolved_recipe_is_read_as_it_was(kind, name, tmp_path):
    recipe = load_as(kind, REPO / "recipes" / f"{name}.yaml", ["num_cpus=3"])
    (tmp_path / "recipe.yaml").write_text(to_yaml(recipe))
    assert load_as(kind, tmp_path / "recipe.yaml") == recipe
