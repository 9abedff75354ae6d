"""A run whose trainer is another one: its folder is explained, and goes on only as what it was."""

import asyncio
import json

import pytest

from actors.store.ledger import Ledger
from rl.recipe.reader import load_recipe
from rl.services import explain_run
from rollout.single_step import failed_group
from rollout.types import GroupRequest
from tests.support.fakes import make_task


def recipe_in(folder, *overrides):
    return load_recipe("recipes/shapes_grpo.yaml", [f"run_dir={folder}", *overrides])


def test_a_folder_with_samples_goes_on_with_the_same_recipe_alone(tmp_path):
    sources = {"judge": {"scorer": "score@1"}}
    explain_run(recipe_in(tmp_path), sources)
    explain_run(recipe_in(tmp_path, "reward=paper"), sources)  # nothing is there yet
    request = GroupRequest(make_task(1), 2, 0, (7,))
    asyncio.run(Ledger.open(tmp_path / "ledger").record(request, failed_group(request, "lost")))
    explain_run(recipe_in(tmp_path, "reward=paper"), sources)
    assert json.loads((tmp_path / "versions.json").read_text())["judge"] == {"scorer": "score@1"}
    with pytest.raises(ValueError, match=r"was started with a different reward"):
        explain_run(recipe_in(tmp_path, "reward=released"), sources)
    with pytest.raises(ValueError, match=r"judge\.scorer \(was score@1, now score@2\)"):
        explain_run(recipe_in(tmp_path, "reward=paper"), {"judge": {"scorer": "score@2"}})
