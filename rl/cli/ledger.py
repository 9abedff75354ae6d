"""The commands `interleave ledger` and `interleave ledger sql`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rl.cli.arguments import Parser, add_command, file_path

if TYPE_CHECKING:
    from rl.run_dir.sql import Answer

_SQL = "ledger sql"
_MOST_SHOWN = 50


def add_ledger_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add both commands to the command line's parser; what they need is imported when they run."""
    ledger = add_command(commands, "ledger", _ledger, "write a run's ledger as Parquet, for pandas and datasets")
    ledger.add_argument("run", type=file_path, help="the run's folder")
    sql = add_command(commands, _SQL, _sql, "ask a run's ledger and metrics by SQL, without changing anything")
    sql.add_argument("run", type=file_path, help="the run's folder")
    sql.add_argument(
        "query", help="""one SELECT from samples, calls, groups, attempts, metrics; or "describe samples\""""
    )
    form = sql.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print an object a row, as a list")
    form.add_argument("--csv", action="store_true", help="print comma-separated values, nested ones as JSON")


def with_ledger_sql(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `ledger sql` as one: `ledger` alone takes a folder.

    >>> with_ledger_sql(["ledger", "sql", "runs/a", "show tables"])
    ['ledger sql', 'runs/a', 'show tables']
    """
    given = list(arguments)
    return [_SQL, *given[2:]] if given[:2] == _SQL.split() else given


def _ledger(chosen: argparse.Namespace) -> int:
    from actors.store.ledger_table import compact

    folder = chosen.run / "ledger"
    for table, num_rows in compact(folder).items():
        print(f"{num_rows:>9,} {table}  {folder / table}.parquet")
    return 0


def _sql(chosen: argparse.Namespace) -> int:
    from rl.run_dir.sql import ask

    answer = ask(chosen.run, chosen.query)
    if chosen.json:
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        print(json.dumps(rows, ensure_ascii=False, default=str, indent=1))
    elif chosen.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([answer.columns, *([_text(value, "") for value in row] for row in answer.rows)])
    else:
        _print_table(answer)
    return 0


def _print_table(answer: Answer) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    table = Table()
    for number, column in enumerate(answer.columns):
        is_number = any(isinstance(row[number], int | float) for row in answer.rows)
        table.add_column(escape(column), justify="right" if is_number else "left", overflow="fold")
    for row in answer.rows[:_MOST_SHOWN]:
        table.add_row(*(escape(_shown(value)) for value in row))
    console.print(table)
    if len(answer.rows) > _MOST_SHOWN:
        console.print(f"{_MOST_SHOWN} of {len(answer.rows):,} rows; --json and --csv print all")


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else _text(value, "-")


def _text(value: object, nothing: str) -> str:
    """Return a value as text, a nested one as JSON."""
    if value is None:
        return nothing
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list | tuple) else str(value)
