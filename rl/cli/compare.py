"""The command `interleave compare`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rl.cli.arguments import Parser, add_command, file_path
from rollout.text.counted import counted

if TYPE_CHECKING:
    from rich.console import Console

    from rl.run_dir.compare import Comparison, Ran


def add_compare_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to the command line's parser; what it needs is imported when it runs."""
    compare = add_command(
        commands, "compare", _compare, "put runs side by side: recipes, figures with paired intervals, time and cost"
    )
    compare.add_argument(
        "runs", type=file_path, nargs="+", metavar="RUN", help="folders; all are held against the first"
    )


def _compare(chosen: argparse.Namespace) -> int:
    from rich.console import Console

    from rl.run_dir.compare import compare_runs

    print_comparison(compare_runs(chosen.runs), Console(highlight=False, soft_wrap=True))
    return 0


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print what each run came to, in which figures runs differ from the first, and what differs in their recipes."""
    from rl.run_dir.compare import why_other_reward
    from rl.run_dir.report import table_rows

    names, first = _names(comparison.runs), comparison.runs[0]
    _table(console, "what each run came to", ["", *names], _course(comparison.runs))
    for name, run, changes in zip(names[1:], comparison.runs[1:], comparison.changes, strict=True):
        if isinstance(changes, str):
            console.print(changes, markup=False)
            continue
        other_reward = why_other_reward(first, run)
        rows = table_rows(changes, not_comparable={"reward"} if other_reward else ())
        _table(console, _title(first, run), ["", names[0], name, "difference", "95 % interval"], rows)
        if other_reward:
            console.print(f"{names[0]} and {name} have different rewards: {other_reward}", markup=False)
    rows = [[key, *values] for key, values in comparison.differences.items()]
    if rows:
        _table(console, "recipes differ in", ["", *names], rows)
    else:
        console.print("the recipes differ in nothing but names and folders")


def _title(first: Ran, other: Ran) -> str:
    """Return what a table of differences is about: which tasks, and which answers."""
    title = "held-out tasks after training, same seeds"
    if first.tasks != other.tasks:
        common = len(first.tasks & other.tasks)
        title += f"; {counted(common, 'task')} in common of {len(first.tasks)} and {len(other.tasks)}"
    if first.recipe.evaluation.num_seeds != other.recipe.evaluation.num_seeds:
        title += "; only the answers that both have"
    return title


def _course(runs: Sequence[Ran]) -> list[list[str]]:
    """Return how far each run came, and what that took."""
    shares = [run.failure_share for run in runs]
    return [
        ["steps done", *(f"{run.num_steps} of {run.recipe.num_steps}" for run in runs)],
        ["hours of steps", *(f"{run.hours:.2f}" for run in runs)],
        ["answers asked of services in steps", *(f"{run.calls:,.0f}" for run in runs)],
        ["  of them cached or shared", *(f"{run.free_calls:,.0f}" for run in runs)],
        ["paid in steps, US dollars", *(f"{run.usd:.2f}" for run in runs)],
        ["failed samples, %", *("-" if share is None else f"{100 * share:.1f}" for share in shares)],
    ]


def _names(runs: Sequence[Ran]) -> list[str]:
    """Return the shortest ends of the folders' paths that tell them apart."""
    parts = [run.folder.resolve().parts for run in runs]
    most = max(map(len, parts))
    ends = (["/".join(part[-length:]) for part in parts] for length in range(1, most + 1))
    return next((names for names in ends if len(set(names)) == len(names)), [str(run.folder) for run in runs])


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(escape(column), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
