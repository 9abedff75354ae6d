"""A JSON array of records, read one by one: a scanner finds each end, so a bad record does not affect the others."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from data.errors import RecordError
from data.formats.json_wrapper import fault_behind
from data.formats.packed import UNREADABLE, open_unpacked, unpacked_size
from data.formats.raw import RawRecord, cut_off, name_of, place_in
from data.formats.strict_json import BOM, MAX_RECORD, decode, too_long

_BLOCK = 2**20
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["{}\[\],]', re.DOTALL)
"""A whole string or a structural character; a lone quote starts a string that ends beyond the buffer."""
_STRING_END = re.compile(rb'(?:[^"\\]++|\\.)*+"', re.DOTALL)


class Piece(NamedTuple):
    """What is between two commas of the array."""

    data: bytes | None
    """None: too long for a record."""
    start: int
    length: int
    is_last: bool
    """Followed by the array's closing bracket, or by the end of the file."""
    fault: str = ""
    """What is wrong with the array here, apart from the element."""


class JsonArray:
    """A file that holds one JSON array, or one object with a list of records."""

    unit = "record"

    def __init__(
        self,
        path: Path,
        where: Callable[[int], str] | None = None,
        wrapped: tuple[str, int] | None = None,
    ):
        """`wrapped` is the list's name and offset in the object (`data.formats.json_wrapper`)."""
        self.path = path
        self.folder, self.name = path.parent, name_of(path)
        self.position = self.last = 0
        self.size = unpacked_size(path)
        self.wrapped = wrapped
        self._where = where

    def where(self, number: int) -> str:
        return self._where(number) if self._where else place_in(self.path, self.unit, number)

    def __iter__(self) -> Iterator[RawRecord]:
        self.last = 0
        try:
            for number, piece in enumerate(self._pieces(), 1):
                if number == 1 and piece.is_last and not piece.fault and not piece.length:
                    return  # an empty array
                self.position = piece.start + piece.length
                self.last = number
                yield self._read(piece, number)
        except UNREADABLE as error:
            self.last += 1
            yield cut_off(error, self.last, self.where(self.last))

    def _read(self, piece: Piece, number: int) -> RawRecord:
        try:
            if piece.data is None:
                raise too_long(piece.length)
            if piece.fault:
                raise RecordError("json", f"not JSON ({piece.fault})")
            if not piece.data:
                raise RecordError("json", "not JSON (nothing between two commas)")
            return RawRecord(number, decode(piece.data), None, piece.start, piece.length)
        except RecordError as error:
            return RawRecord(number, None, error.at(self.where(number)), piece.start, piece.length)

    def _pieces(self) -> Iterator[Piece]:
        name, start = self.wrapped or ("", 0)
        scanner = _Scanner(start)
        with open_unpacked(self.path) as file:
            file.read(start)  # a gzip stream seeks no faster
            while block := file.read1(_BLOCK):
                yield from scanner.feed(block)
                if scanner.is_over:
                    # Read on for what follows: white space to the end, or the rest of the wrapping object.
                    rest = scanner.rest()
                    if name:
                        rest += file.read(_BLOCK)
                    while not rest.strip() and (block := file.read1(_BLOCK)):
                        rest = block
                    fault = "there is more after the array" if rest.strip() else ""
                    if name:
                        fault = fault_behind(rest, name)
                    if fault:
                        yield Piece(b"", scanner.offset, len(rest), True, fault)
                    return
        yield from scanner.end()


class _Scanner:
    """Cuts an array into its elements, wherever the blocks it is fed are cut."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        """Where the buffer starts in the file."""
        self.is_over = False
        self._buffer = b""
        self._at = 0
        """The buffer is scanned up to here."""
        self._depth = 0
        self._is_in_string = False
        self._num_dropped = 0
        """Bytes of the current element that were discarded because it is too long."""

    def feed(self, block: bytes) -> Iterator[Piece]:
        """Take the next block of the file; yield the elements that end in it."""
        self._buffer += block
        if self._depth == 0 and not self._enter():
            return
        start = 0
        while not self.is_over and (end := self._next_end()) is not None:
            yield self._piece(start, end)
            start = end + 1
            self._num_dropped = 0
        self._keep(start)

    def end(self) -> Iterator[Piece]:
        """Take the end of the file; yield the element that it cuts off."""
        yield Piece(b"", self.offset, len(self._buffer), True, "the file ends before the array does")

    def rest(self) -> bytes:
        """Return what the buffer holds after the array."""
        return self._buffer

    def _enter(self) -> bool:
        """Step over the opening bracket (which identified the format); return False until the buffer has it."""
        head = self._buffer.removeprefix(BOM).lstrip()
        if not head.startswith(b"["):
            return False
        self._at = len(self._buffer) - len(head) + 1
        self._depth = 1
        self.offset += self._at
        self._buffer, self._at = self._buffer[self._at :], 0
        return True

    def _next_end(self) -> int | None:
        """Scan on; return the index of the comma or bracket that ends the current element, None for more data."""
        while True:
            if self._is_in_string:
                match = _STRING_END.match(self._buffer, self._at)
                if match is None:
                    return None
                self._at, self._is_in_string = match.end(), False
            match = _TOKEN.search(self._buffer, self._at)
            if match is None:
                self._at = len(self._buffer)
                return None
            token = match[0]
            self._at = match.end()
            if token == b'"':
                self._is_in_string = True
            elif token in b"{[":
                self._depth += 1
            elif token in b"}]":
                self._depth -= 1
                if self._depth == 0:
                    self.is_over = True
                    return match.start()
            elif token == b"," and self._depth == 1:
                return match.start()

    def _piece(self, start: int, end: int) -> Piece:
        data = self._buffer[start:end]
        length = len(data) + self._num_dropped
        begin = self.offset + start - self._num_dropped
        if length > MAX_RECORD:
            return Piece(None, begin, length, self.is_over)
        stripped = data.strip()
        begin += data.find(stripped[:1]) if stripped else 0
        return Piece(stripped, begin, len(stripped), self.is_over)

    def _keep(self, start: int) -> None:
        """Discard finished elements, and of one that is already too long all but what the scan still needs."""
        if len(self._buffer) - start > MAX_RECORD:
            cut = self._at
            if self._is_in_string:
                # Do not split an escape: an odd backslash at the end waits for the character that it escapes.
                tail = self._buffer[cut:]
                cut += len(tail) - (len(tail) - len(tail.rstrip(b"\\"))) % 2
            self._num_dropped += cut - start
            start = cut
        self.offset += start
        self._buffer = self._buffer[start:]
        self._at = max(self._at - start, 0)
