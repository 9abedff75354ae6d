"""Rows of Arrow tables as lines of JSON in the cache folder: what a table of records can read one by one."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from data.formats.json_array import JsonArray
from data.formats.reader import JsonLines, Records
from data.table.index_file import cache_folder


def as_lines(records: Records) -> JsonLines | JsonArray:
    """Return the same records from a file where each has a byte offset; places are named as in the file given."""
    if isinstance(records, JsonLines | JsonArray):
        return records
    copy = cache_folder() / f"{records.path.name}.{_state(records.path)}.jsonl"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
            unfinished = Path(folder) / copy.name
            with unfinished.open("w", encoding="utf-8") as file:
                for raw in records:
                    # A row that cannot be read stays, as null: lines keep the numbers of rows, and it is counted there.
                    file.write(json.dumps(raw.value, default=_unknown))
                    file.write("\n")
            unfinished.replace(copy)
    return JsonLines(copy, records.where)


def _state(path: Path) -> str:
    """Return a digest of a file's or a folder's state: names, sizes and times."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(states).encode()).hexdigest()[:16]


def _unknown(value: object) -> str:
    """Stand in for what JSON has no word for (bytes, dates): no field of a record is one."""
    return f"<{type(value).__name__}>"
