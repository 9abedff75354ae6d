"""Records copied as JSON lines to the cache folder, where a record table can read each by its byte offset."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import IO

from actors.store.files import naming
from data.cache import cache_folder
from data.errors import RecordError
from data.formats.json_array import JsonArray
from data.formats.json_lines import JsonLines
from data.formats.packed import UNREADABLE, is_packed, open_unpacked
from data.formats.raw import Records
from data.formats.shards import Part, Shards
from data.formats.strict_json import BOM
from data.records.image_bytes import by_content

_BLOCK = 2**20


def as_lines(records: Records) -> JsonLines | JsonArray:
    """Return the same records from a file in which each has a byte offset; locations are those in the original."""
    is_json = isinstance(records, JsonLines | JsonArray)
    if isinstance(records, JsonLines | JsonArray) and not is_packed(records.path):
        return records
    name = records.path.name.replace("*", "_").replace("?", "_")
    copy = cache_folder() / f"{name}.{_state(records)}.{'json' if isinstance(records, JsonArray) else 'jsonl'}"
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        with naming(copy), tempfile.TemporaryDirectory(dir=copy.parent) as folder:
            unfinished = Path(folder) / copy.name
            with unfinished.open("wb") as file:
                if isinstance(records, Shards):
                    _copy_shards(records, file)
                    places = unfinished.with_suffix(".places")
                    places.write_text(json.dumps(records.parts), encoding="utf-8")
                    places.replace(copy.with_suffix(".places"))
                elif is_json:
                    _copy_unpacked(records, file)
                else:
                    _copy_rows(records, file)
            unfinished.replace(copy)
    if isinstance(records, Shards):
        places = copy.with_suffix(".places")
        records.parts = [Part(*part) for part in json.loads(places.read_text(encoding="utf-8"))]
    return (
        JsonArray(copy, records.where, records.wrapped)
        if isinstance(records, JsonArray)
        else JsonLines(copy, records.where)
    )


def _copy_shards(shards: Shards, out: IO[bytes]) -> None:
    """Write the lines of all files, so that line numbers equal record numbers."""
    for _, records in shards.opened():
        if isinstance(records, JsonLines):
            records.last = _copy_unpacked(records, out)
        else:
            _copy_rows(records, out)


def _copy_unpacked(records: Records, out: IO[bytes]) -> int:
    """Write a file decompressed, in whole lines, and return their number. Raises `RecordError` if it is damaged."""
    num_lines, last = 0, b"\n"
    try:
        with open_unpacked(records.path) as file:
            while data := file.read(_BLOCK):
                if not num_lines and last == b"\n":
                    data = data.removeprefix(BOM)
                out.write(data)
                num_lines += data.count(b"\n")
                last = data[-1:] or last
    except UNREADABLE as error:
        raise RecordError("file", f"{records.path} cannot be unpacked ({error}); fetch it again") from None
    if last != b"\n":
        out.write(b"\n")
        num_lines += 1
    return num_lines


def _copy_rows(records: Records, out: IO[bytes]) -> None:
    """Write a line for each row; an unreadable row becomes null and is counted when it is read."""
    number = 0
    for raw in records:
        out.write(b"\n" * (raw.number - number - 1))  # blank lines for missing rows: line numbers equal row numbers
        out.write(json.dumps(by_content(raw.value), default=_unknown).encode() + b"\n")
        number = raw.number
    out.write(b"\n" * (records.last - number))


def _state(records: Records) -> str:
    """Return a digest of the state of a file, a folder or shards: names, sizes and times."""
    path = records.path
    files = records.files if isinstance(records, Shards) else sorted(path.rglob("*")) if path.is_dir() else [path]
    states = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(states).encode()).hexdigest()[:16]


def _unknown(value: object) -> str:
    """Return a placeholder for a value that JSON lacks (bytes, dates): no field of a record is one."""
    return f"<{type(value).__name__}>"
