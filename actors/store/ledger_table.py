"""The ledger as Parquet, for pandas and `datasets`: compacted from its logs, which remain authoritative.

    <run>/ledger/samples.parquet    the rows of `read_ledger`; `extra` is JSON, all else as in the rows
    <run>/ledger/calls.parquet      what was paid for (`actors/metered/usage_ledger.py`)

The schema is fixed except for names that a run chooses itself: its reward's terms and the items of its bills
become fields of structs, since `datasets` does not support maps.
"""

import json
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.store.append_log import read_log, tell_damaged
from actors.store.eviction import is_left_behind
from actors.store.files import naming, sync_folder, temporary_name
from actors.store.ledger import CALLS, SAMPLES, read_ledger
from rollout.types import SAMPLE_STAGES

Row = dict[str, Any]

BATCH = 2000
"""Rows in memory at a time, and in one row group."""
_TEXT, _WHOLE, _REAL, _TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_SCORES = pa.struct({"semantics": _REAL, "quality": _REAL, "reason": _TEXT, "spread": _REAL})


def compact(folder: Path) -> dict[str, int]:
    """Write the tables of a run's ledger; return how many rows each has. Raises ValueError if there is no ledger.

    A table replaces its predecessor as a whole, or not at all.
    """
    if not any(folder.glob("*.log")):
        raise ValueError(f"{folder} is not a ledger: it has no logs; give the folder of a run that has started")
    tell_damaged(folder, SAMPLES, CALLS)
    for path in folder.iterdir():
        if is_left_behind(path.name, path.stat().st_mtime):
            path.unlink(missing_ok=True)
    samples = _write(folder / "samples.parquet", *sample_rows(folder))
    calls = _write(folder / "calls.parquet", *call_rows(folder))
    return {"samples": samples, "calls": calls}


def sample_rows(folder: Path) -> tuple[pa.Schema, Iterator[Row]]:
    """Return the columns and rows of the samples' table."""
    terms = _names((row["reward"] or {}).get("terms", ()) for row in read_log(folder, SAMPLES))
    return sample_schema(terms), map(_sample, read_ledger(folder))


def call_rows(folder: Path) -> tuple[pa.Schema, Iterator[Row]]:
    """Return the columns and rows of the calls' table."""
    costs = _names((*row["bill"], *row["counted"]) for row in read_log(folder, CALLS))
    return call_schema(costs), read_log(folder, CALLS)


def in_memory(schema: pa.Schema, rows: Iterable[Row]) -> pa.Table:
    """Return a table of rows."""
    left = iter(rows)
    batches = iter(lambda: list(islice(left, BATCH)), [])
    return pa.concat_tables([schema.empty_table(), *(_table(batch, schema) for batch in batches)])


def sample_schema(terms: Iterable[str]) -> pa.Schema:
    """Return the columns of the samples' table, for a reward with these terms."""
    return pa.schema(
        {
            "attempt": _WHOLE,
            "phase": _TEXT,
            "step": _WHOLE,
            "task_id": _TEXT,
            "index": _WHOLE,
            "seed": _WHOLE,
            "edit_seed": _WHOLE,
            "instruction": _TEXT,
            "prompt": _TEXT,
            "before": _TEXT,
            "after": _TEXT,
            "before_digest": _TEXT,
            "after_digest": _TEXT,
            "is_success": _TRUTH,
            "baseline": _SCORES,
            "response": _TEXT,
            "num_tokens": _WHOLE,
            "is_truncated": _TRUTH,
            "policy_version": _WHOLE,
            "critique": pa.struct({"is_success": _TRUTH, "refine_prompt": _TEXT, "thought": _TEXT}),
            "parse_error": _TEXT,
            "image": _TEXT,
            "scores": _SCORES,
            "rejudged": _SCORES,
            "extra": _TEXT,
            "reward": pa.struct({"total": _REAL} | _numbers("terms", terms)),
            "failure": pa.struct({"stage": _TEXT, "error": _TEXT}),
            **_numbers("seconds", (stage.value for stage in SAMPLE_STAGES)),
        }
    )


def call_schema(costs: Iterable[str]) -> pa.Schema:
    """Return the columns of the calls' table, for bills with these items."""
    names = list(costs)
    texts = dict.fromkeys(("service", "key", "endpoint", "outcome"), _TEXT)
    return pa.schema({**texts, "at": _REAL, **_numbers("bill", names), **_numbers("counted", names)})


def _numbers(column: str, names: Iterable[str]) -> dict[str, pa.DataType]:
    """Return a column of named numbers, or no column without names: Parquet has no empty structs."""
    fields = dict.fromkeys(names, _REAL)
    return {column: pa.struct(fields)} if fields else {}


def _names(rows: Iterable[Iterable[str]]) -> list[str]:
    return sorted({name for row in rows for name in row})


def _sample(row: Row) -> Row:
    extra = row.get("extra")
    return row | {"extra": json.dumps(extra, ensure_ascii=False) if extra else None, "reward": _real(row["reward"])}


def _real(reward: Row | None) -> Row | None:
    """Return a reward whose terms are floats: in a row one may be a bool."""
    if reward is None:
        return None
    return {"total": float(reward["total"]), "terms": {name: float(term) for name, term in reward["terms"].items()}}


def _write(path: Path, schema: pa.Schema, rows: Iterator[Row]) -> int:
    """Write a table a batch at a time; return how many rows it has."""
    num_rows = 0
    temporary = path.parent / temporary_name()
    try:
        with naming(path), pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            while batch := list(islice(rows, BATCH)):
                writer.write_table(_table(batch, schema))
                num_rows += len(batch)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return num_rows


def _table(batch: list[Row], schema: pa.Schema) -> pa.Table:
    try:
        return pa.Table.from_pylist(batch, schema=schema)
    except UnicodeEncodeError:  # a lone surrogate, which a log can hold but Parquet cannot
        return pa.Table.from_pylist([_encodable(row) for row in batch], schema=schema)


def _encodable(value: object) -> object:
    if isinstance(value, dict):
        return {key: _encodable(item) for key, item in value.items()}
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
