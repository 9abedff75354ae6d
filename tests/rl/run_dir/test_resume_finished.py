"""What a run that goes on refuses: a run that is finished."""

import os
from pathlib import Path

import pytest

from rl.recipe.config import Recipe
from rl.run_dir.resume import check_unfinished
from tests.support.training import make_recipe


def recipe_of(folder: Path, num_steps: int) -> Recipe:
    return make_recipe(folder, num_steps=num_steps)


def finished_run(folder: Path) -> Recipe:
    recipe = recipe_of(folder, 20)
    for name, text in {
        "checkpoints/latest": "step_000020",
        "export/config.json": "{}",
        "report.html": "",
    }.items():
        (recipe.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe.folder / name).write_text(text)
    return recipe


def test_a_finished_run_is_not_resumed_but_made_longer(tmp_path):
    recipe = finished_run(tmp_path)
    with pytest.raises(
        ValueError, match=r"is finished: its 20 steps are learned, .*; to go on, set num_steps above 20"
    ):
        check_unfinished(recipe)
    check_unfinished(recipe_of(tmp_path, 21))


@pytest.mark.parametrize("missing", ["report.html", "export/config.json", "checkpoints/latest"])
def test_a_run_that_lacks_its_end_is_resumed(tmp_path, missing):
    recipe = finished_run(tmp_path)
    (recipe.folder / missing).unlink()
    check_unfinished(recipe)


def test_a_report_of_an_earlier_stop_finishes_nothing(tmp_path):
    recipe = finished_run(tmp_path)
    os.utime(recipe.folder / "report.html", (1, 1))
    check_unfinished(recipe)
