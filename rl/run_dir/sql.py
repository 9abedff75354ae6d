"""A run's ledger and metrics as tables for SQL: copied into DuckDB's memory, which is then shut off from files.

samples    the rows of `read_ledger`: nested columns are structs (`reward.terms.format`, `scores.semantics`)
calls      what was paid for (`actors/metered/usage_ledger.py`)
groups     which groups each step learned from, and how old they were (`actors/store/learned.py`)
attempts   the starts of the run
metrics    metrics.jsonl, a column for each metric (`"reward/mean"`)
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from actors.store.append_log import read_log
from actors.store.learned import read_learned
from actors.store.ledger import ATTEMPTS
from actors.store.ledger_table import call_rows, in_memory, sample_rows
from rl.tracking.metrics_file import read_metrics

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TABLES = ("samples", "calls", "groups", "attempts", "metrics")
_GROUPS = pa.schema(
    {
        "step": pa.int64(),
        "version": pa.int64(),
        "begun_for": pa.int64(),
        "task_id": pa.string(),
        "is_learned": pa.bool_(),
        "behind": pa.list_(pa.int64()),
    }
)
_ATTEMPTS = pa.schema({"attempt": pa.int64(), "first_step": pa.int64(), "host": pa.string(), "started": pa.float64()})
_SHUT = (
    "SET temp_directory = ''",
    "SET python_enable_replacements = false",  # no variable of this process either
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


@dataclass(frozen=True)
class Answer:
    """What a query came to."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """Structs are dicts, lists are lists."""


def ask(run_dir: Path, query: str) -> Answer:
    """Answer one SELECT about a run, finished or not. Raises ValueError of one line."""
    try:
        import duckdb
    except ImportError:
        raise ValueError("ledger sql needs duckdb, which is not installed: pip install duckdb") from None
    if not any((run_dir / name).exists() for name in ("ledger", "metrics.jsonl")):
        raise ValueError(
            f"{run_dir} is not the folder of a run that has started: it has no ledger and no metrics.jsonl"
        )
    with duckdb.connect(":memory:") as connection:
        try:
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type.name != "SELECT":
                raise ValueError("expected one SELECT: a run is only read")
            _fill(connection, run_dir, query)
            for setting in _SHUT:
                connection.execute(setting)
            found = connection.execute(query)
            return Answer([column[0] for column in found.description or ()], found.fetchall())
        except duckdb.Error as error:
            raise ValueError(_told(error)) from None


def _fill(connection: "DuckDBPyConnection", run_dir: Path, query: str) -> None:
    """Make the tables that the query may mean; `show tables` and the like mean all of them."""
    named = [name for name in TABLES if re.search(rf"\b{name}\b", query, re.IGNORECASE)]
    for name in named or TABLES:
        connection.register("loaded", _table(name, run_dir))
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM loaded")
        connection.unregister("loaded")


def _table(name: str, run_dir: Path) -> pa.Table:
    ledger = run_dir / "ledger"
    match name:
        case "samples":
            return in_memory(*sample_rows(ledger))
        case "calls":
            return in_memory(*call_rows(ledger))
        case "groups":
            return in_memory(_GROUPS, _groups(ledger))
        case "attempts":
            return in_memory(_ATTEMPTS, read_log(ledger, ATTEMPTS))
    rows = read_metrics(run_dir)
    names = sorted({name for row in rows for name in row} - {"step", "time"})
    return in_memory(pa.schema({"step": pa.int64(), "time": pa.float64(), **dict.fromkeys(names, pa.float64())}), rows)


def _groups(ledger: Path) -> Iterator[dict[str, object]]:
    for row in read_learned(ledger):
        for group in row["groups"]:
            yield group | {"step": row["step"], "version": row["version"], "begun_for": group["step"]}


def _told(error: Exception) -> str:
    """Return DuckDB's message on one line, without its picture of the query."""
    text = " ".join(str(error).partition("\nLINE ")[0].split())
    hint = f"; tables are {', '.join(TABLES)}" if "Table with name" in text else ""
    return f"{text}{hint}"
