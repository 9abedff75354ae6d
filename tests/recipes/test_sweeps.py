"""The example sweep: W&B's own expansion of its command is read by the recipe reader, and no two runs collide."""

import pytest
import yaml

from rl.evaluation import FIGURES
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe

SWEEP = yaml.safe_load((REPO / "recipes" / "sweeps" / "example.yaml").read_text())


def command_line(values: dict) -> list[str]:
    """Return what W&B's agent runs for one choice of the parameters (as `wandb.wandb_agent` does it)."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    macros = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    macros["program"] = [SWEEP["program"]]
    expanded = []
    for part in create_sweep_command(list(SWEEP["command"])):
        expanded += macros[part[2:-1]] if part.startswith("${") and part.endswith("}") else [part]
    return expanded


def chosen(bound: str) -> dict:
    return {
        key: given["values"][0 if bound == "min" else -1] if "values" in given else given[bound]
        for key, given in SWEEP["parameters"].items()
    }


@pytest.mark.slow
def test_a_sweeps_runs_are_recipes_with_a_folder_each(monkeypatch):
    """Slow: W&B's launcher, which expands the command, takes two seconds to import."""
    folders = set()
    for number, bound in enumerate(("min", "max")):
        monkeypatch.setenv("WANDB_RUN_ID", f"run{number}")
        program, command, recipe_file, *overrides = command_line(chosen(bound))
        assert (program, command) == ("interleave", "train")
        recipe = load_recipe(REPO / recipe_file, overrides)
        assert recipe.policy.lr == SWEEP["parameters"]["policy.lr"][bound]
        assert recipe.rollout.n == {"min": 4, "max": 8}[bound]
        folders.add(recipe.run_dir)
    assert folders == {"runs/sweep/run0", "runs/sweep/run1"}


def test_what_the_sweep_maximises_is_logged():
    figures = {f"eval/{figure}_after" for figure in FIGURES}
    assert SWEEP["metric"]["name"] in figures - {"eval/reward_after"}, "the reward is a parameter, with its own scale"


def test_outside_of_a_sweep_the_missing_variable_is_named(monkeypatch):
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    with pytest.raises(ValueError, match="WANDB_RUN_ID"):
        load_recipe(REPO / "recipes" / "shapes_grpo.yaml", ["run_dir=runs/sweep/${oc.env:WANDB_RUN_ID}"])


def test_an_override_may_name_another_key():
    assert load_recipe(REPO / "recipes" / "shapes_grpo.yaml", ["run_dir=runs/${name}-${seed}", "seed=3"]).run_dir == (
        "runs/shapes_grpo-3"
    )
