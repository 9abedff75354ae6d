"""What every format gives: records as they were found, with their places."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from data.errors import RecordError


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
    folder: Path
    """Where relative image paths start."""
    name: str
    """What records without an id, and files made of these, are called by."""
    unit: str
    """What a record is in its file: row, record; empty: a line."""
    last: int
    """The number that the last iteration has come to."""

    def __iter__(self) -> Iterator[RawRecord]: ...

    def where(self, number: int) -> str:
        """Name a record's place for people."""
        ...


def name_of(path: Path) -> str:
    """Return what records of a file, a folder or a pattern are called by.

    >>> name_of(Path("a/tasks.jsonl.gz")), name_of(Path("a/train-*.parquet"))
    ('tasks', 'train')
    """
    stem = Path(path.name.removesuffix(".gz")).stem
    return re.sub(r"[-_.]*[*?\[\]]+", "", stem) or path.absolute().parent.name


def place_in(path: Path, unit: str, number: int) -> str:
    """Name a record's place for people."""
    return f"{path}: {unit} {number}" if unit else f"{path}:{number}"


def cut_off(error: BaseException, number: int, where: str) -> RawRecord:
    """Return what stands for the records that a damaged file no longer gives."""
    text = f"the file cannot be read from here on ({error}); fetch it again"
    return RawRecord(number, None, RecordError("file", text, where=where))
