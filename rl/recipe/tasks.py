"""A recipe's records: read at once where they are few, one by one where they are many."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from data.records.on_bad import OnBad
from data.records.sft import Kind, SftRecord
from data.table.record_table import RecordTable, T, open_sft, open_tasks
from rl.recipe.config import DataConfig, resolve_path
from rl.recipe.sft_config import SftDataConfig
from rollout.types import Task

_READ_AT_ONCE = 20_000
"""Records of a file that is read whole before a run, so that a bad one is told before anything starts."""


def read_tasks(path: str, settings: DataConfig) -> Sequence[Task]:
    """Open a file of tasks by the recipe's rules. Raises `RecordError` for a bad one: at once, or when it is drawn."""
    file = resolve_data(path)
    return _read(file, open_tasks(file, settings.image_rules, on_bad=OnBad(settings.on_bad)))


def read_sft_records(path: str, settings: SftDataConfig) -> Sequence[SftRecord]:
    """Open a file of SFT records as `read_tasks` does one of tasks."""
    file = resolve_data(path)
    return _read(file, open_sft(file, Kind(settings.kind), settings.image_rules, on_bad=OnBad(settings.on_bad)))


def resolve_data(path: str) -> Path:
    """Return a recipe's path of records; a pattern like train-*.parquet is looked for where a path is."""
    given = Path(path).expanduser()
    return given if glob.has_magic(path) and glob.glob(str(given)) else resolve_path(path)


def _read(file: Path, records: RecordTable[T]) -> Sequence[T]:
    if records.left_out:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"{file}: {records.left_out}", markup=False)
    return list(records) if len(records) <= _READ_AT_ONCE else records
