"""The kinds of recipes, and of which kind a file is that another kind's command was given."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from dataclasses import dataclass

from rollout.text.limits import hints_of


@dataclass(frozen=True)
class RecipeKind:
    """One kind of recipe. Its class is imported when it is asked for."""

    module: str
    class_name: str
    what: str
    """What it is of, in words."""
    commands: str
    """The commands that take it."""

    def load(self) -> type:
        """Return its class."""
        found: type = getattr(importlib.import_module(self.module), self.class_name)
        return found


RECIPE_KINDS = {
    "rl": RecipeKind("rl.recipe.config", "Recipe", "RL", "interleave train"),
    "sft": RecipeKind("rl.recipe.sft_config", "SftRecipe", "SFT", "interleave sft"),
    "story": RecipeKind("rl.story.config", "StoryRecipe", "stories", "interleave generate, serve and eval stories"),
    "data": RecipeKind("rl.data_build.config", "BuildRecipe", "data", "interleave data build"),
}
_ABLATION = RecipeKind("rl.ablation.config", "AblationRecipe", "ablations", "interleave ablate")


def kind_of(keys: Collection[str]) -> type:
    """Return the first kind of recipe that has all of these top-level keys; that of RL where none has."""
    kinds = [kind.load() for kind in RECIPE_KINDS.values()]
    return next((kind for kind in kinds if hints_of(kind).keys() >= set(keys)), kinds[0])


def check_kind(kind: type, keys: Collection[str], where: str) -> None:
    """Raise ValueError for a file whose top-level keys are not of this kind of recipe, and all of them of another."""
    unknown = [key for key in keys if key not in hints_of(kind)]
    if not unknown:
        return
    for other in (*RECIPE_KINDS.values(), _ABLATION):
        if hints_of(other.load()).keys() >= set(keys):
            raise ValueError(
                f"{where}: unknown key {unknown[0]}: this is a recipe of {other.what}, for `{other.commands}`"
            )
