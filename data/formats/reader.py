"""Files of records, iterated and never held: JSONL, a JSON array, Parquet, a Hugging Face `datasets` folder, shards."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from glob import has_magic
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from data.errors import RecordError
from data.formats.json_wrapper import find_list
from data.formats.packed import UNREADABLE, open_unpacked, read_head, unpacked_size
from data.formats.strict_json import BOM, MAX_RECORD, decode, too_long
from rollout.text.marks import wide_encoding

_BLOCK = 2**20
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\0": "packed by xz",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3\0": "an SQLite database",
    b"version https://git-lfs": "a pointer of Git LFS, whose content is not fetched (git lfs pull)",
}
"""Other files that pass for records, by how they begin."""


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


def open_records(path: Path) -> Records:
    """Return the records of a file or folder; what it is shows in its content. Raises `RecordError`."""
    try:
        if path.is_dir():
            return _open_folder(path)
        if is_pattern(path):
            from data.formats.shards import shards_of_pattern

            return shards_of_pattern(path)
        head = read_head(path)
    except FileNotFoundError:
        raise RecordError("file", f"{path} does not exist") from None
    except RecordError:
        raise
    except (ValueError, *UNREADABLE) as error:
        raise RecordError("file", f"{path} cannot be read ({error})") from None
    check_encoding(path, head)
    if head.startswith(b"PAR1"):
        from data.formats.arrow import ParquetRows

        return ParquetRows(path)
    wrapped = find_list(head)
    if wrapped is not None or head.removeprefix(BOM).lstrip().startswith(b"["):
        from data.formats.json_array import JsonArray

        return JsonArray(path, wrapped=wrapped)
    return JsonLines(path)


def _open_folder(path: Path) -> Records:
    if any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        from data.formats.arrow import DatasetRows

        return DatasetRows(path)
    from data.formats.shards import shards_of_folder

    return shards_of_folder(path)


def check_encoding(path: Path, head: bytes) -> None:
    """Raise `RecordError` for what is no text in UTF-8 by its first bytes, and is known."""
    if encoding := wide_encoding(head):
        raise RecordError("encoding", f"{path} is text in {encoding}; save it as UTF-8")
    kind = next((name for mark, name in _FOREIGN.items() if head.startswith(mark)), "")
    if kind:
        raise RecordError("file", f"{path} is {kind}; expected JSONL, JSON (either also as .gz) or Parquet")


def is_pattern(path: Path) -> bool:
    """Say whether a path names files by a pattern, and not one that is there."""
    return has_magic(str(path)) and not path.exists()


def name_of(path: Path) -> str:
    """Return what records of a file, a folder or a pattern are called by.

    >>> name_of(Path("a/tasks.jsonl.gz")), name_of(Path("a/train-*.parquet"))
    ('tasks', 'train')
    """
    stem = Path(path.name.removesuffix(".gz")).stem
    return re.sub(r"[-_.]*[*?\[\]]+", "", stem) or path.absolute().parent.name


def beside(records: Records) -> Path:
    """Return the folder where what is made of records is put."""
    return records.path.parent if records.path.exists() else records.folder


def place_in(path: Path, unit: str, number: int) -> str:
    """Name a record's place for people."""
    return f"{path}: {unit} {number}" if unit else f"{path}:{number}"


class JsonLines:
    """One JSON value a line."""

    unit = ""

    def __init__(self, path: Path, where: Callable[[int], str] | None = None):
        self.path = path
        self.folder, self.name = path.parent, name_of(path)
        self.position = self.last = 0
        self.size = unpacked_size(path)
        self._where = where
        """Names the place that a line stands for, where the lines are a copy of something."""

    def where(self, number: int) -> str:
        return self._where(number) if self._where else place_in(self.path, self.unit, number)

    def __iter__(self) -> Iterator[RawRecord]:
        self.last = start = 0
        with open_unpacked(self.path) as file:
            try:
                while data := file.readline(MAX_RECORD):
                    self.last += 1
                    length = len(data)
                    if length == MAX_RECORD and data[-1] != 10:
                        length += _skip_line(file)
                        error = too_long(length).at(self.where(self.last))
                        yield RawRecord(self.last, None, error, start, length)
                    elif raw := self._read(data, self.last, start):
                        yield raw
                    start += length
                    self.position = start
            except UNREADABLE as error:
                self.last += 1
                yield cut_off(error, self.last, self.where(self.last))

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


def cut_off(error: BaseException, number: int, where: str) -> RawRecord:
    """Return what stands for the records that a damaged file no longer gives."""
    text = f"the file cannot be read from here on ({error}); fetch it again"
    return RawRecord(number, None, RecordError("file", text, where=where))


def _skip_line(file: io.BufferedIOBase) -> int:
    """Read on to the end of a line without keeping it; return the bytes it took."""
    num_bytes = 0
    while data := file.readline(_BLOCK):
        num_bytes += len(data)
        if data[-1] == 10:
            break
    return num_bytes
