"""JSONL: one record per line."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

from data.errors import RecordError
from data.formats.packed import UNREADABLE, open_unpacked, unpacked_size
from data.formats.raw import RawRecord, cut_off, name_of, place_in
from data.formats.strict_json import BOM, MAX_RECORD, decode, too_long

_BLOCK = 2**20


class JsonLines:
    """One JSON value per line."""

    unit = ""

    def __init__(self, path: Path, where: Callable[[int], str] | None = None):
        self.path = path
        self.folder, self.name = path.parent, name_of(path)
        self.position = self.last = 0
        self.size = unpacked_size(path)
        self._where = where
        """Names the original location of a line, if the file is a copy."""

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


def _skip_line(file: io.BufferedIOBase) -> int:
    """Read to the end of a line without keeping it; return the number of bytes read."""
    num_bytes = 0
    while data := file.readline(_BLOCK):
        num_bytes += len(data)
        if data[-1] == 10:
            break
    return num_bytes
