"""A recipe's records: read at once where they are few, one by one where they are many."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from rich.console import Console

from data.records.image_paths import ImageRules, parse_prefixes
from data.records.on_bad import OnBad
from data.records.sft import Kind, SftRecord
from data.table.record_table import RecordTable, T, open_sft, open_tasks
from rl.recipe.config import DataConfig
from rl.recipe.paths import resolve_path
from rl.recipe.sft_config import SftDataConfig
from rollout.types import Task

_READ_AT_ONCE = 20_000
"""Records of a file that is read whole before a run, so that a bad one is told before anything starts."""


def read_tasks(settings: DataConfig, *files: Path) -> list[Sequence[Task]]:
    """Open files of tasks by the recipe's rules. Raises `RecordError` for a bad one: at once, or when it is drawn."""
    rules, on_bad = _image_rules(settings), OnBad(settings.on_bad)
    return _read([(file, open_tasks(file, rules, on_bad=on_bad)) for file in files])


def count_tasks(settings: DataConfig, file: Path) -> tuple[int, int]:
    """Return how many tasks a file has and how many of them are failed ones, without reading more than their labels."""
    tasks = open_tasks(file, _image_rules(settings), on_bad=OnBad(settings.on_bad))
    return len(tasks), len(tasks) - int(tasks.labels.sum())


def first_tasks(settings: DataConfig, file: Path, number: int) -> list[Task]:
    """Return at most the first `number` tasks of a file, checked as `read_tasks` does it. Raises `RecordError`."""
    return list(islice(open_tasks(file, _image_rules(settings), on_bad=OnBad(settings.on_bad)), number))


def read_sft_records(settings: SftDataConfig, *files: Path) -> list[Sequence[SftRecord]]:
    """Open files of SFT records as `read_tasks` does those of tasks."""
    rules, kind, on_bad = _image_rules(settings), Kind(settings.kind), OnBad(settings.on_bad)
    return _read([(file, open_sft(file, kind, rules, on_bad=on_bad)) for file in files])


def _image_rules(settings: DataConfig) -> ImageRules:
    """Return how image paths of a recipe's records are read."""
    return ImageRules(
        folder=resolve_path(settings.image_prefix) if settings.image_prefix else None,
        root=resolve_path(settings.image_root) if settings.image_root else None,
        prefixes=parse_prefixes(settings.prefixes),
        white_canvas=settings.white_canvas,
    )


def _read(opened: Sequence[tuple[Path, RecordTable[T]]]) -> list[Sequence[T]]:
    for file, records in opened:
        if records.left_out:
            Console(stderr=True, highlight=False, soft_wrap=True).print(f"{file}: {records.left_out}", markup=False)
    return [list(records) if len(records) <= _READ_AT_ONCE else records for _, records in opened]
