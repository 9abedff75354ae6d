"""What a run's metrics.jsonl says, by metric: read on from where the last look ended, and thinned out for a page."""

import math
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from rl.tracking.metrics_file import METRICS, row_of

POINTS = 300
"""Most points of a curve that a page is sent."""
_CHUNK = 4 * 2**20
_GLANCE_ABOVE = 6 * 2**20
"""Bytes of a file above which a glance reads a part of its rows."""
_GLANCE_ROWS = 300
_GLANCE_END = 2**18


@dataclass
class Column:
    """One metric: its finite values, each with its step."""

    steps: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    num_broken: int = 0
    """Values that were infinite or no number."""

    @property
    def last(self) -> float | None:
        """The newest value."""
        return self.values[-1] if self.values else None

    @property
    def total(self) -> float:
        return math.fsum(self.values)

    def recent(self, number: int) -> float | None:
        """Return the mean of the newest values."""
        newest = self.values[-number:]
        return math.fsum(newest) / len(newest) if newest else None


class Course:
    """The metrics of a run. Not safe for threads."""

    def __init__(self, run_dir: Path):
        self._path = run_dir / METRICS
        self._offset = 0
        self._file = 0
        self.generation = 0
        """Counts how often the file was another one, as when a resumed run drops what it will do again."""
        self.columns: dict[str, Column] = {}
        self.num_rows = 0
        self.first_time = self.last_time = 0.0
        """Of the rows, in seconds since 1970; 0: there is none."""

    @property
    def version(self) -> str:
        """Another one whenever there is something new."""
        return f"{self.generation}.{self._offset}"

    def read_on(self) -> None:
        """Read the rows that are new and whole: a last line that is torn, or being written, stays for the next time."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            if self._file != status.st_ino or status.st_size < self._offset:
                self._begin_again(status.st_ino)
            file.seek(self._offset)
            for line in _whole_lines(file):
                self._offset += len(line)
                self.add(line)

    def add(self, line: bytes) -> None:
        """Take the values of one row; what is no row is passed over."""
        if (row := row_of(line)) is None:
            return
        self.num_rows += 1
        step = row.pop("step")
        if isinstance(when := row.pop("time", None), float | int):
            self.first_time, self.last_time = self.first_time or when, when
        for name, value in row.items():
            if value.__class__ is not float and value.__class__ is not int:
                continue
            column = self.columns.get(name)
            if column is None:
                column = self.columns[name] = Column()
            if math.isfinite(value):
                column.steps.append(step)
                column.values.append(value)
            else:
                column.num_broken += 1

    def total(self, name: str) -> float:
        """Return the sum of a metric over all rows; 0 where there is none."""
        return self.columns[name].total if name in self.columns else 0.0

    def last(self, name: str) -> float | None:
        """Return a metric's newest value."""
        return self.columns[name].last if name in self.columns else None

    def recent(self, name: str, number: int) -> float | None:
        """Return the mean of a metric's newest values."""
        return self.columns[name].recent(number) if name in self.columns else None

    @property
    def num_steps(self) -> int:
        """Steps that are done."""
        done = self.columns.get("seconds/step")
        return max(done.steps, default=0) if done else 0

    def _begin_again(self, file: int) -> None:
        self._file, self._offset = file, 0
        self.generation += 1
        self.columns, self.num_rows = {}, 0
        self.first_time = self.last_time = 0.0


def glance(run_dir: Path) -> Course | None:
    """Return the course of a long run by rows from all over its file, in the time that a page may take to open.

    Its evaluations and last steps are all there; sums over it are not the run's. None: the file is short enough to be
    read.
    """
    path = run_dir / METRICS
    if not path.exists() or (size := path.stat().st_size) <= _GLANCE_ABOVE:
        return None
    course = Course(run_dir)
    with path.open("rb") as file:
        places = {_line_after(file, size * i // _GLANCE_ROWS) for i in range(_GLANCE_ROWS)}
        places |= set(_places_of_evaluations(file))
        end = _line_after(file, size - _GLANCE_END)
        for place in sorted(place for place in places if place < end):
            file.seek(place)
            course.add(file.readline())
        file.seek(end)
        for line in _whole_lines(file):
            course.add(line)
    return course


def thinned(pieces: Sequence[Column], most: int = POINTS) -> dict[str, Any]:
    """Return a curve of at most `most` points, in order of steps; each stands for as many neighbours as the others.

    Where it stands for several, `low` and `high` say between what they were, so that no peak is lost.
    """
    steps, values = _in_order(pieces)
    size = max(1, -(-len(steps) // most))
    starts = range(0, len(steps), size)
    buckets = [values[start : start + size] for start in starts]
    curve: dict[str, object] = {
        "steps": [steps[min(start + size, len(steps)) - 1] for start in starts],
        "values": [rounded(math.fsum(bucket) / len(bucket)) for bucket in buckets],
    }
    if size > 1:
        curve |= {
            "low": [rounded(min(bucket)) for bucket in buckets],
            "high": [rounded(max(bucket)) for bucket in buckets],
        }
    if num_broken := sum(piece.num_broken for piece in pieces):
        curve["num_broken"] = num_broken
    return curve


def rounded(value: float) -> float:
    """Return a number with the digits that a page can show.

    >>> rounded(0.123456789)
    0.123457
    """
    return float(f"{value:.6g}")


def families(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of metrics by the area that they begin with.

    >>> families(["policy/kl", "judge/faults/timeout", "policy/loss"])
    {'judge': ['judge/faults/timeout'], 'policy': ['policy/kl', 'policy/loss']}
    """
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(name.partition("/")[0], []).append(name)
    return found


def _in_order(pieces: Sequence[Column]) -> tuple[Sequence[int], Sequence[float]]:
    if len(pieces) == 1:
        return pieces[0].steps, pieces[0].values
    points = sorted((step, value) for piece in pieces for step, value in zip(piece.steps, piece.values, strict=True))
    return [step for step, _ in points], [value for _, value in points]


def _whole_lines(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while data := file.read(_CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        yield from (line + b"\n" for line in lines)


def _line_after(file: BinaryIO, offset: int) -> int:
    """Return where the first line begins that does so at an offset or after it."""
    if offset <= 0:
        return 0
    file.seek(offset - 1)
    file.readline()
    return file.tell()


def _places_of_evaluations(file: BinaryIO) -> Sequence[int]:
    """Return where rows begin that hold an evaluation."""
    places, offset = [], 0
    file.seek(0)
    for line in _whole_lines(file):
        if b'"eval/' in line:
            places.append(offset)
        offset += len(line)
    return places
