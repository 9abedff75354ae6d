"""What is read off the configurations for whoever writes a recipe."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Lt

from rl.recipe.config import Recipe
from rl.recipe.reader import load_recipe
from rl.recipe.reference import Key, keys_of
from rollout.text.limits import PositiveInt, one_of


@dataclass(frozen=True)
class Inner:
    """A part."""

    size: Annotated[float, Ge(0), Lt(1)] = 0.5
    """How large."""


@dataclass(frozen=True)
class Base:
    count: PositiveInt = 3
    """How many,
    in two lines."""


@dataclass(frozen=True)
class Outer(Base):
    kind: Annotated[str, one_of("red", "blue")] = "red"
    part: Inner = field(default_factory=Inner)
    parts: list[Inner] = field(default_factory=list)
    by_name: dict[str, Inner] = field(default_factory=dict)
    pair: tuple[float, float] = (0.9, 0.99)
    maybe: int | None = None
    """May be nothing."""
    name: str = "???"


def test_each_key_has_its_type_default_and_text():
    assert list(keys_of(Outer)) == [
        Key("count", "whole number, 1 or more", "3", "How many, in two lines."),
        Key("kind", "red or blue", "red", ""),
        Key("part", "section", "", "A part.", is_section=True),
        Key("part.size", "number, 0 or more, below 1", "0.5", "How large."),
        Key("parts", "list of sections", "[]", "A part.", is_section=True),
        Key("parts.<number>.size", "number, 0 or more, below 1", "0.5", "How large."),
        Key("by_name", "sections by name", "{}", "A part.", is_section=True),
        Key("by_name.<name>.size", "number, 0 or more, below 1", "0.5", "How large."),
        Key("pair", "2 of number", "[0.9, 0.99]", ""),
        Key("maybe", "whole number, or null", "null", "May be nothing."),
        Key("name", "text", "", ""),
    ]


def test_every_default_that_is_told_is_one_that_a_recipe_may_say():
    """A plain key, set to what is told as its default, changes nothing."""
    from rl.recipe.config import REPO

    path = REPO / "recipes" / "shapes_grpo.yaml"
    told = [
        key
        for key in keys_of(Recipe)
        if key.default and not key.is_section and "<" not in key.path and not key.default.startswith(("[", "{"))
    ]
    assert len(told) > 150
    overrides = [
        f"{key.path}={key.default}" for key in told if key.path.split(".")[0] in ("policy", "samplers", "rollout")
    ]
    recipe = load_recipe(path, [one for one in overrides if "${" not in one and '""' not in one])
    assert (recipe.policy.lr, recipe.rollout.n, recipe.samplers.is_delta) == (2e-6, 8, False)
