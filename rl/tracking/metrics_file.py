"""A run's metrics.jsonl: one row a step, whatever else follows the run."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.notice import notify
from actors.store.files import naming
from rl.atomic_write import atomic_write
from rollout.text.counted import counted

METRICS = "metrics.jsonl"
"""The name of the file in a run's folder."""


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics.jsonl."""
    path = run_dir / METRICS
    return list(_readable(path)) if path.exists() else []


def is_evaluated(run_dir: Path, step: int) -> bool:
    """Whether the evaluation during training that belongs to a step has figures."""
    return any(row["step"] == step and "eval/reward" in row for row in read_metrics(run_dir))


def append_metrics(run_dir: Path, row: Mapping[str, object]) -> None:
    """Add a row."""
    path = run_dir / METRICS
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def drop_metrics_after(run_dir: Path, step: int) -> list[dict[str, object]]:
    """Drop what a resumed run will log again and return the rows that stay."""
    path = run_dir / METRICS
    if not path.exists():
        return []
    _keep_damaged(path)
    repeated = ["eval/failed_samples_after"]
    if not (run_dir / "evaluation_before.json").exists():  # written last: without it that evaluation is made again
        repeated.append("eval/failed_samples_before")
    kept = [row for row in _readable(path) if row["step"] <= step and not any(key in row for key in repeated)]
    atomic_write(path, "".join(json.dumps(row) + "\n" for row in kept))
    return kept


def row_of(line: bytes) -> dict[str, Any] | None:
    """Return the row of a line; None where it holds none, as one that a kill has torn."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and type(row.get("step")) is int else None


def _readable(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file whose last line a kill may have torn."""
    with path.open("rb") as lines:
        yield from (row for line in lines if (row := row_of(line)) is not None)


def _keep_damaged(path: Path) -> None:
    """Keep a file that holds more that is no row than a last line that a kill has torn: it is about to be replaced."""
    content = path.read_bytes()
    lines = content.split(b"\n")
    num_damaged = sum(bool(line) and row_of(line) is None for line in lines[:-1] or lines)
    if num_damaged:
        kept = path.with_name(f"{path.name}.damaged")
        atomic_write(kept, content)
        notify(f"{path}: {counted(num_damaged, 'line')} cannot be read; the file as it was is kept as {kept.name}")
