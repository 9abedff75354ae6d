"""A recipe's tasks: read at once where they are few, one by one where they are many."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from data.bad_records import OnBad
from data.table import open_tasks
from rl.config import DataConfig, resolve_path
from rollout.types import Task

_READ_AT_ONCE = 20_000
"""Tasks of a file that is read whole before a run, so that a bad record is told before anything starts."""


def read_tasks(path: str, settings: DataConfig) -> Sequence[Task]:
    """Open a file of tasks by the recipe's rules. Raises `RecordError` for a bad one: at once, or when it is drawn."""
    file = resolve_path(path)
    tasks = open_tasks(file, settings.image_rules, on_bad=OnBad(settings.on_bad))
    if tasks.left_out:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"{file}: {tasks.left_out}", markup=False)
    return list(tasks) if len(tasks) <= _READ_AT_ONCE else tasks
