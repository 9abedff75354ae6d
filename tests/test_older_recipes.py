"""The folder of a run of an older version opens: its resolved recipe is read as it stands."""

from pathlib import Path

import pytest

from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe


@pytest.mark.parametrize("version", ["0.1.0"])
def test_a_resolved_recipe_of_an_older_version_is_read(version, monkeypatch):
    """Written by that version as `recipe.yaml` of the demo; a key that is no more would be refused."""
    monkeypatch.chdir(REPO)
    old = load_recipe(Path(__file__).with_name(f"shapes_grpo_{version}.yaml"))
    today = load_recipe("recipes/shapes_grpo.yaml")
    assert (old.name, old.num_steps, old.policy.lr) == (today.name, 50, 3.6e-4)
    assert [(term.fn, term.weight) for term in old.reward.terms] == [
        (term.fn, term.weight) for term in today.reward.terms
    ]
    assert old.max_pixels == today.max_pixels, "what it does not say is today's default"
