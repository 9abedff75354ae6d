"""Records by number, without holding them in memory: training on a million of them starts in seconds.

tasks = open_tasks(Path("critic_rl.jsonl"))
len(tasks), tasks[7], tasks.labels
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from data.errors import RecordError
from data.formats.json_array import JsonArray
from data.formats.json_lines import JsonLines
from data.formats.raw import RawRecord, Records
from data.formats.reader import open_records
from data.formats.strict_json import decode
from data.records.beside_file import resolver_of
from data.records.image_paths import ImageResolver, ImageRules
from data.records.on_bad import BadRecords, OnBad, good_records
from data.records.rl import read_task
from data.records.sft import Kind, SftRecord, read_sft
from data.table.digest_log import DigestLog, digest_of
from data.table.index_file import Notes, Rows, open_index
from data.table.jsonl_copy import as_lines
from data.table.line_index import ROW, check_ids, scan_lines
from rollout.types import Task

T = TypeVar("T", Task, SftRecord)

_MOST_LISTED = 1000
_CHECKS = 1
"""One more with each check that is added: an index knows what was good by those of its time."""


class RecordTable(Sequence[T], Generic[T]):
    """The records of a file, each read and checked when it is accessed (`RecordError` names its location)."""

    def __init__(self, lines: JsonLines | JsonArray, rows: Rows, parse: Callable[[RawRecord], T]):
        self._file = lines.path.open("rb", buffering=0)
        self._rows = rows
        self._parse: Callable[[RawRecord], T] = parse
        self._where = lines.where
        self.left_out = ""
        """The records left out by `on_bad`, in one line; empty: none."""

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(f"record {place} of {len(self)}")
        row = self._rows[place]
        number, start, length = int(row["number"]), int(row["start"]), int(row["length"])
        try:
            # `pread` takes the offset: threads may share the file.
            data = os.pread(self._file.fileno(), length, start)
            return _at(self._parse(RawRecord(number, decode(data))), self._where(number))
        except RecordError as error:
            raise error.at(self._where(number)) from None

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Whether each RL record is a success, [len]; reads no records."""
        is_success: NDArray[np.bool_] = self._rows["label"] == 1
        return is_success


def _at(record: T, where: str) -> T:
    return replace(record, where=where) if isinstance(record, SftRecord) else record


def open_tasks(path: Path, rules: ImageRules | None = None, *, on_bad: OnBad = OnBad.RAISE) -> RecordTable[Task]:
    """Open a file of RL records, of any format.

    With `raise`, a bad record raises when it is accessed (duplicate ids and unreadable labels at once). With `skip`,
    the first opening checks every record and its images and leaves the bad ones out; the index remembers which.
    """
    return _open(path, Kind.RL, rules or ImageRules(), on_bad)


def open_sft(
    path: Path, kind: Kind, rules: ImageRules | None = None, *, on_bad: OnBad = OnBad.RAISE
) -> RecordTable[SftRecord]:
    """Open a file of SFT records, of any format; bad ones as in `open_tasks`."""
    return _open(path, kind, rules or ImageRules(), on_bad)


def parser(kind: Kind, records: Records, places: ImageResolver) -> Callable[[RawRecord], Any]:
    """Return the parser for a kind of record; the default id is the file's name and the record's number."""
    name, places_of = records.name, resolver_of(records, places)
    if kind is Kind.RL:
        return lambda raw: read_task(raw.value, places_of(raw.number), default_id=f"{name}-{raw.number}")
    return lambda raw: read_sft(raw.value, kind, places_of(raw.number), default_id=f"{name}-{raw.number}")


def _open(path: Path, kind: Kind, rules: ImageRules, on_bad: OnBad) -> RecordTable[Any]:
    records = open_records(path)
    parse = parser(kind, records, ImageResolver(records.folder, rules))
    lines = as_lines(records)
    if on_bad is OnBad.RAISE and isinstance(lines, JsonLines):
        rows, notes = open_index(lines.path, ROW, partial(_scan, lines, kind), key=kind)
    else:
        key = json.dumps([kind, on_bad, str(rules), str(records.folder.resolve()), _CHECKS])
        rows, notes = open_index(lines.path, ROW, partial(_read_all, lines, parse, on_bad), key=key)
    left_out = notes.get("left_out", "")
    if not len(rows):
        raise RecordError("file", f"{path} holds no record" + (f" that is good: {left_out}" if left_out else ""))
    table = RecordTable(lines, rows, parse)
    table.left_out = left_out
    return table


def _scan(lines: JsonLines, kind: Kind, out: BinaryIO, folder: Path) -> Notes:
    ids = DigestLog(folder / "ids")
    scan_lines(lines, out, ids, has_labels=kind is Kind.RL)
    check_ids(lines, ids)
    return {}


def _read_all(
    lines: JsonLines | JsonArray, parse: Callable[[RawRecord], Any], on_bad: OnBad, out: BinaryIO, folder: Path
) -> Notes:
    """Write the rows of good records; of several with one id, only the first."""
    bad = BadRecords(on_bad)
    ids = DigestLog(folder / "ids")
    with (folder / "rows").open("wb") as file:
        for raw, record in good_records(lines, parse, bad):
            label = int(record.is_success) if isinstance(record, Task) else -1
            file.write(np.array((raw.start, raw.number, raw.length, label), ROW).tobytes())
            ids.add(digest_of(record.id), raw.number)
    rows = np.fromfile(folder / "rows", ROW)
    repeated = np.concatenate([np.empty(0, np.uint64), *ids.later()])
    for number in np.sort(repeated)[:_MOST_LISTED]:
        bad.add(RecordError("duplicate_id", "its id appeared before", where=lines.where(int(number))))
    if len(repeated) > _MOST_LISTED:
        bad.counts["duplicate_id"] += len(repeated) - _MOST_LISTED
    rows = rows[~np.isin(rows["number"], repeated)]
    out.write(rows.tobytes())
    return {"left_out": bad.summary()} if bad.num else {}
