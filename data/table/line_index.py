"""Find where each record of a JSONL file starts without parsing: newlines by numpy, labels and ids by patterns.

Only records that the patterns leave unclear are parsed.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.errors import RecordError
from data.formats.json_lines import JsonLines
from data.formats.strict_json import BOM, MAX_RECORD, decode, too_long
from data.records.rl import check_object, id_of, required
from data.table.digest_log import DigestLog

ROW = np.dtype([("start", "<u8"), ("number", "<u8"), ("length", "<u4"), ("label", "<i4")])
"""A record's bytes, its line, and its label: 1 for success, 0 for failure, -1 if the kind has none."""
_BLOCK = 8 * 2**20
_BLANK = 64
"""A line shorter than this may be blank."""
# Inside a JSON string a quote is escaped, so a match is always a key, never part of a text.
_LABEL = re.compile(rb'"success"\s*:\s*(true|false)?')
_ID = re.compile(rb'"id"\s*:\s*(?:"([^"\\]*)"|(-?\d+)\b)?')

T = TypeVar("T")


def scan_lines(records: JsonLines, out: BinaryIO, ids: DigestLog, *, has_labels: bool) -> None:
    """Write a row for each record to `out`, and a digest of what may be each record's own id to `ids`.

    Raises `RecordError` for a line that is too long, and for an unparsable record in which the patterns did not find
    exactly one label or found several ids. Every other error appears when a record is read.
    """
    number = 0
    for block, offset in _blocks(records.path):
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
        starts = np.r_[0, ends[:-1] + 1]
        if offset == 0 and block.startswith(BOM):
            starts[0] = len(BOM)
        lengths = ends - starts
        if lengths.max() > MAX_RECORD:
            line = int(lengths.argmax())
            raise too_long(int(lengths[line])).at(records.where(number + line + 1))
        rows = np.empty(len(ends), ROW)
        rows["start"], rows["length"] = starts + offset, lengths
        rows["number"] = np.arange(number + 1, number + len(ends) + 1)
        lines = _Lines(records, block, starts, ends, number)
        rows["label"] = lines.labels() if has_labels else -1
        kept = np.ones(len(ends), bool)
        kept[lines.blank] = False
        digests, places = lines.ids()
        ids.extend(digests, places + number + 1)
        out.write(rows[kept].tobytes())
        number += len(ends)


class _Lines:
    """The lines of a block, and what the patterns find in each."""

    def __init__(
        self, records: JsonLines, block: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], number: int
    ):
        self._records = records
        self._block = block
        self._starts = starts
        self._ends = ends
        self._number = number
        self.blank = [place for place in np.flatnonzero(ends - starts < _BLANK) if not self._line(place).strip()]

    def labels(self) -> NDArray[np.int8]:
        """Return 1 (success) or 0 for each line, -1 for a blank one."""
        spans = [match.span() for match in _LABEL.finditer(self._block)]
        labels = np.full(len(self._starts), -1, np.int8)
        if spans:
            first, end = np.array(spans).T
            places = self._places(first)
            # The letters before the match's end tell tru|e from fals|e, and both from any other value.
            text = np.frombuffer(self._block, np.uint8)
            is_known = text[end - 1] == ord("e")
            is_once = np.bincount(places, minlength=len(labels))[places] == 1
            settled = is_known & is_once
            labels[places[settled]] = text[end - 2][settled] == ord("u")
        for place in np.flatnonzero(labels < 0):
            labels[place] = self._parsed_label(place)
        return labels

    def ids(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return digests of what may be the lines' own ids, and the indices of those lines.

        A line's only "id" is taken for its own, though it may belong to a nested object. The digest is Python's `hash`,
        which differs between processes: the log of digests is not kept.
        """
        matches = [(match.start(), match[1] or match[2]) for match in _ID.finditer(self._block)]
        places = self._places(np.array([start for start, _ in matches], np.int64))
        digests = np.array([hash(text) for _, text in matches], np.int64)
        is_settled = np.array([bool(text) for _, text in matches], bool)
        is_settled &= np.bincount(places, minlength=1)[places] == 1
        parsed = {}
        for place in np.unique(places[~is_settled]).tolist():
            own = self._of_record(place, lambda record: id_of(record, ""))
            if own:
                parsed[place] = hash(own.encode())
        digests = np.r_[digests[is_settled], np.array(list(parsed.values()), np.int64)]
        return digests.view(np.uint64), np.r_[places[is_settled], np.array(list(parsed), np.int64)]

    def _places(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._ends, offsets)

    def _line(self, place: int) -> bytes:
        return self._block[self._starts[place] : self._ends[place]]

    def _of_record(self, place: int, read: Callable[[dict[str, object]], T]) -> T:
        """Parse a line and return what `read` finds in its record."""
        try:
            record = decode(self._line(place))
            check_object(record)
            return read(record)
        except RecordError as error:
            raise error.at(self._records.where(self._number + place + 1)) from None

    def _parsed_label(self, place: int) -> int:
        if not self._line(place).strip():
            self.blank.append(place)
            return -1
        return self._of_record(place, _label_of)


def _label_of(record: dict[str, object]) -> int:
    evaluation = required(record, "evaluation", dict, "an object")
    return int(required(evaluation, "success", bool, "true or false", inside="evaluation: "))


def check_ids(records: JsonLines, ids: DigestLog) -> None:
    """Raise `RecordError` if two records have the same id; lines that may have the same one are parsed."""
    numbers = np.sort(np.concatenate([np.empty(0, np.uint64), *ids.repeated()]))
    first: dict[str, int] = {}
    pair, num_later = (0, 0), 0
    for number, line in _lines_at(records.path, numbers):
        own = _own_id(line)
        if own in first:
            pair, num_later = pair if num_later else (first[own], number), num_later + 1
        elif own:
            first[own] = number
    if num_later:
        raise RecordError(
            "duplicate_id",
            f"the id of line {pair[0]} appears again ({num_later:,} such)",
            where=records.where(pair[1]),
        )


def _own_id(line: bytes) -> str:
    """Return the own id of a line's record; empty if it cannot be read, which is reported later."""
    try:
        record = decode(line)
        check_object(record)
        return id_of(record, "")
    except RecordError:
        return ""


def _lines_at(path: Path, numbers: NDArray[np.uint64]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with these ascending numbers, as (number, line)."""
    wanted = iter(numbers.tolist())
    next_one = next(wanted, None)
    if next_one is None:
        return
    with path.open("rb", buffering=_BLOCK) as file:
        for number, line in enumerate(file, 1):
            if number == next_one:
                yield number, line.removeprefix(BOM) if number == 1 else line
                next_one = next(wanted, None)
                if next_one is None:
                    return


def _blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield blocks of whole lines, each ended by a newline, and their offsets."""
    offset = 0
    rest = b""
    with path.open("rb") as file:
        while data := file.read(_BLOCK):
            end = data.rfind(b"\n") + 1
            if end:
                yield rest + data[:end], offset
                offset += len(rest) + end
                rest = data[end:]
            else:
                rest += data
            if len(rest) > MAX_RECORD + _BLOCK:
                raise RecordError(
                    "too_long", f"a line of more than {MAX_RECORD:,} bytes at byte {offset:,}", where=str(path)
                )
    if rest:
        yield rest + b"\n", offset
