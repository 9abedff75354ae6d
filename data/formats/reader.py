"""Files of records, iterated and never held: JSONL, a JSON array, Parquet, a Hugging Face `datasets` folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from data.errors import RecordError
from data.formats.strict_json import BOM, MAX_RECORD, decode, too_long

_BLOCK = 2**20


class RawRecord(NamedTuple):
    """One record as it was found, not yet checked."""

    number: int
    """Line, record or row, from 1."""
    value: Any
    error: RecordError | None = None
    """Located; set when there is no value."""
    start: int = 0
    """Byte offset, where the format has one."""
    length: int = 0


class Records(Protocol):
    """A file of records; each iteration reads it from the start. A record that cannot be read does not end it."""

    path: Path
    position: int
    """How far the last iteration has come, of `size`."""
    size: int

    def __iter__(self) -> Iterator[RawRecord]: ...

    def where(self, number: int) -> str:
        """Name a record's place for people."""
        ...


def open_records(path: Path) -> Records:
    """Return the records of a file or folder; what it is shows in its content. Raises `RecordError`."""
    try:
        if path.is_dir():
            from data.formats.arrow import DatasetRows

            return DatasetRows(path)
        with path.open("rb") as file:
            head = file.read(_BLOCK)
    except FileNotFoundError:
        raise RecordError("file", f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise RecordError("file", f"{path} cannot be read ({error})") from None
    if head.startswith(b"PAR1"):
        from data.formats.arrow import ParquetRows

        return ParquetRows(path)
    if head.removeprefix(BOM).lstrip().startswith(b"["):
        from data.formats.json_array import JsonArray

        return JsonArray(path)
    return JsonLines(path)


class JsonLines:
    """One JSON value a line."""

    def __init__(self, path: Path, where: Callable[[int], str] | None = None):
        self.path = path
        self.position = 0
        self.size = path.stat().st_size
        self._where = where
        """Names the place that a line stands for, where the lines are a copy of something."""

    def where(self, number: int) -> str:
        return self._where(number) if self._where else f"{self.path}:{number}"

    def __iter__(self) -> Iterator[RawRecord]:
        number = start = 0
        with self.path.open("rb", buffering=_BLOCK) as file:
            while data := file.readline(MAX_RECORD):
                number += 1
                length = len(data)
                if length == MAX_RECORD and data[-1] != 10:
                    length += _skip_line(file)
                    yield RawRecord(number, None, too_long(length).at(self.where(number)), start, length)
                elif raw := self._read(data, number, start):
                    yield raw
                start += length
                self.position = start

    def _read(self, data: bytes, number: int, start: int) -> RawRecord | None:
        """Return a line's record; None for a blank line."""
        if start == 0 and data.startswith(BOM):
            data, start = data[len(BOM) :], len(BOM)
        try:
            return RawRecord(number, decode(data), None, start, len(data))
        except RecordError as error:
            if not data.strip():
                return None
            return RawRecord(number, None, error.at(self.where(number)), start, len(data))


def _skip_line(file: BinaryIO | io.BufferedReader) -> int:
    """Read on to the end of a line without keeping it; return the bytes it took."""
    num_bytes = 0
    while data := file.readline(_BLOCK):
        num_bytes += len(data)
        if data[-1] == 10:
            break
    return num_bytes
