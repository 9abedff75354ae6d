"""What every format yields: records as they were found, with their locations."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from data.errors import RecordError


class RawRecord(NamedTuple):
    """One record as it was found, not yet checked."""

    number: int
    """Of the line, record or row, from 1."""
    value: Any
    error: RecordError | None = None
    """Located; set when there is no value."""
    start: int = 0
    """Byte offset, if the format has one."""
    length: int = 0


class Records(Protocol):
    """A file of records; each iteration reads it from the start. An unreadable record does not end it."""

    path: Path
    position: int
    """How far the last iteration got, out of `size`."""
    size: int
    folder: Path
    """What relative image paths are relative to; of files in several folders, what these have in common."""
    name: str
    """Used in default ids and in the names of derived files."""
    unit: str
    """What a record is in its file: row, record; empty: a line."""
    last: int
    """The number that the last iteration got to."""

    def __iter__(self) -> Iterator[RawRecord]: ...

    def where(self, number: int) -> str:
        """Return a record's location in human-readable form."""
        ...


def name_of(path: Path) -> str:
    """Return the name for records of a file, a folder or a pattern (`Records.name`).

    >>> name_of(Path("a/tasks.jsonl.gz")), name_of(Path("a/train-*.parquet"))
    ('tasks', 'train')
    """
    stem = Path(path.name.removesuffix(".gz")).stem
    return re.sub(r"[-_.]*[*?\[\]]+", "", stem) or path.absolute().parent.name


def place_in(path: Path, unit: str, number: int) -> str:
    """Return a record's location in human-readable form."""
    return f"{path}: {unit} {number}" if unit else f"{path}:{number}"


def cut_off(error: BaseException, number: int, where: str) -> RawRecord:
    """Return the bad record that represents all that a damaged file no longer yields."""
    text = f"the file cannot be read from here on ({error}); fetch it again"
    return RawRecord(number, None, RecordError("file", text, where=where))
