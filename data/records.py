"""RL records: one recorded attempt a line, checked on load with file, line and field in the error."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rollout.types import Scores, Task


class RecordError(ValueError):
    """A record is not what the schema says; the message names file, line and field."""


def load_tasks(path: Path, image_prefix: str = "") -> list[Task]:
    """Read a JSONL file of RL records.

    Fields: `origin_prompt`, `rewritten_prompt` (may be empty: the original was used), `origin_image_path`
    (null: text-to-image), `edited_image_path`, `evaluation: {success, semantics, quality}`, and
    optionally `id`. Relative image paths are read from `image_prefix` or the file's own folder.
    """
    if not path.exists():
        raise RecordError(f"{path} does not exist")
    root = Path(image_prefix) if image_prefix else path.parent
    tasks: list[Task] = []
    seen: set[str] = set()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            task = _task(line, where=f"{path}:{number}", default_id=f"{path.stem}-{number}", root=root)
            if task.id in seen:
                raise RecordError(f"{path}:{number}: id {task.id!r} appears twice")
            seen.add(task.id)
            tasks.append(task)
    if not tasks:
        raise RecordError(f"{path} holds no record")
    return tasks


def _task(line: str, *, where: str, default_id: str, root: Path) -> Task:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise RecordError(f"{where}: not JSON ({error})") from None
    if not isinstance(record, dict):
        raise RecordError(f"{where}: expected an object, found a {type(record).__name__}")
    evaluation = _field(record, "evaluation", dict, where)
    before = record.get("origin_image_path")
    return Task(
        id=str(record.get("id", default_id)),
        instruction=_field(record, "origin_prompt", str, where),
        prompt=_field(record, "rewritten_prompt", str, where),
        before=None if before is None else _image(record, "origin_image_path", root, where),
        after=_image(record, "edited_image_path", root, where),
        is_success=_field(evaluation, "success", bool, f"{where}: evaluation"),
        scores=Scores(
            _score(evaluation, "semantics", f"{where}: evaluation"),
            _score(evaluation, "quality", f"{where}: evaluation"),
        ),
    )


def _field(record: dict[str, Any], name: str, kind: type, where: str) -> Any:
    if name not in record:
        raise RecordError(f"{where}: field {name} is missing")
    if not isinstance(record[name], kind):
        raise RecordError(f"{where}: field {name} is a {type(record[name]).__name__}, expected {kind.__name__}")
    return record[name]


def _score(record: dict[str, Any], name: str, where: str) -> float:
    value = record.get(name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 <= value <= 10
    ):
        raise RecordError(f"{where}: field {name} is {value!r}, expected a number from 0 to 10")
    return float(value)


def _image(record: dict[str, Any], name: str, root: Path, where: str) -> str:
    path = root / _field(record, name, str, where)
    if not path.exists():
        raise RecordError(f"{where}: field {name}: there is no image at {path}")
    return str(path.resolve())
