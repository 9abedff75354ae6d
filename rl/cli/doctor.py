"""The command `interleave doctor`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rl.cli.arguments import Parser, add_command, file_path
from rl.cli.run_to_end import run_async
from rollout.text.counted import counted

if TYPE_CHECKING:
    from rl.recipe.config import Recipe


def add_doctor_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the command line's parser; what it needs is imported when it runs."""
    doctor = add_command(
        commands, "doctor", _doctor, "look for what would keep a run from starting or end it; exit code 1 for any of it"
    )
    doctor.add_argument(
        "recipe", type=file_path, nargs="?", help="recipe YAML of GRPO; without one: this machine alone"
    )
    doctor.add_argument("overrides", nargs="*", default=[], help="key=value, like ray_address=auto")
    doctor.add_argument("--ask", action="store_true", help="put one question to each judge's endpoint; it may cost")


def _doctor(chosen: argparse.Namespace) -> int:
    if chosen.recipe is None:
        if chosen.ask:
            raise ValueError("--ask puts questions to the endpoints of a recipe: give one")
        return run_async(_examine(None, asks=False))
    from rl.recipe.reader import load_recipe

    return run_async(_examine(load_recipe(chosen.recipe, chosen.overrides), asks=chosen.ask))


async def _examine(recipe: Recipe | None, *, asks: bool) -> int:
    """Print each finding when it is made; return 1 if any is not good."""
    from rich.console import Console
    from rich.markup import escape

    from rl.doctor.doctor import examine

    console, num_wrong = Console(highlight=False, soft_wrap=True), 0
    async for found in examine(recipe, asks=asks):
        num_wrong += not found.is_good
        mark = "[green]  ok[/]" if found.is_good else "[red]FAIL[/]"
        mend = "" if found.is_good else f" -> {escape(found.mend)}"
        console.print(f"{mark}  {escape(found.what):<14}  {escape(found.text)}{mend}")
    console.print(counted(num_wrong, "problem") if num_wrong else "no problems")
    return 1 if num_wrong else 0
