"""The command `interleave keys`: what a recipe may set."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rl.cli.arguments import Parser, add_command
from rl.recipe.kinds import RECIPE_KINDS

if TYPE_CHECKING:
    from rl.recipe.reference import Key


_ONE = {"rl": "a GRPO recipe", "sft": "an SFT recipe", "story": "a story recipe", "data": "a data-build recipe"}
"""One recipe of each kind, in words."""


def add_keys_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the command line's parser; what it needs is imported when it runs."""
    keys = add_command(commands, "keys", _keys, "say what a recipe may set: each key, what it may be, and its default")
    keys.add_argument("words", nargs="*", help="parts of keys, like rollout, policy.lr or budget; none: all keys")
    keys.add_argument("--of", choices=list(RECIPE_KINDS), default="rl", help="kind of recipe; default: rl")
    keys.add_argument("--markdown", action="store_true", help="all keys of all kinds, as docs/keys.md has them")


def _keys(chosen: argparse.Namespace) -> int:
    if chosen.markdown:
        print("\n".join(markdown()))
        return 0
    keys = _of(chosen.of)
    found = [key for key in keys if all(word in key.path for word in chosen.words)]
    if not found:
        from rollout.text.limits import nearest

        known = {part for key in keys for part in key.path.split(".")}
        raise ValueError(
            f"no key of {_ONE[chosen.of]} contains {' and '.join(map(repr, chosen.words))}"
            f"{nearest(chosen.words[0], known)}"
        )
    for key in found:
        default = f"  [{key.default}]" if key.default else ""
        print(f"{key.path}{default}\n    {key.kind}{'. ' if key.text else ''}{key.text}")
    return 0


def markdown() -> Iterator[str]:
    """Yield the lines of docs/keys.md: all keys of RL, and of the other kinds those that differ."""
    yield "# Keys of recipes"
    yield ""
    yield "Written by `interleave keys --markdown`; `interleave keys budget` finds keys by parts of their names. A key"
    yield "without a default has to be set, or may be left out. `<name>` stands for a name of yours, `<number>` for a"
    yield "place in a list."
    told: set[Key] = set()
    for kind, recipes in RECIPE_KINDS.items():
        keys = _of(kind)
        new = [key for key in keys if key not in told]
        yield from ("", f"## {kind}", "", f"Recipes of `{recipes.commands}`.")
        if same := sorted({key.path.split(".")[0] for key in keys if key in told} - {key.path for key in new}):
            yield from ("", f"As above: {', '.join(f'`{name}`' for name in same)}, but for what is said here.")
        yield from ("", "| key | default | what it may be | |", "|---|---|---|---|")
        for key in new:
            default = f"`{key.default}`" if key.default else ""
            yield f"| `{key.path}` | {default} | {_cell(key.kind)} | {_cell(key.text)} |"
        told.update(keys)


def _of(kind: str) -> list[Key]:
    from rl.recipe.reference import keys_of

    return list(keys_of(RECIPE_KINDS[kind].load()))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
