"""The ledger of a run: one row for each sample, with all its costs and rewards.

    <run>/ledger/attempts-*.log    a row for each start of the run: its number and its first step
    <run>/ledger/samples-*.log     a row for each sample, committed before its group is returned
    <run>/ledger/steps-*.log       what each step learned from (`actors/store/learned.py`)

A row is `rollout.rows.row_of` with `attempt`, `phase`, `step`, `edit_seed` (of its generation), and the
contents of its task's images, `before_digest` and `after_digest`: hex digests, '' for no image, null for one
that cannot be read.

A resumed run repeats the steps after its checkpoint and evaluates again at the end: what it repeats is
superseded, not doubled. A writer that died may have committed rows without confirming them, so they are sent
again: of rows with equal (phase, step, task_id, index), the one committed last counts.
"""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from actors.store.append_log import AppendLog, GroupCommit, log_paths, parse_line, read_log, read_rows
from actors.store.store import Store
from rollout.rows import row_of
from rollout.types import Group, GroupRequest, ImageRef, Phase

SAMPLES, ATTEMPTS, CALLS = "samples", "attempts", "calls"
"""Kinds of rows, each in its own logs; calls are described in `actors/metered/usage_ledger.py`."""
LedgerRow = dict[str, Any]
_Key = tuple[str, int, str, int]
_Place = tuple[Path, int]
"""A log and the offset of a line in it."""


class Appender(Protocol):
    """Commits rows: `GroupCommit` in this process, `RemoteAppender` through the run's single writer."""

    async def append(self, rows: Sequence[LedgerRow]) -> None:
        """Return once the rows are on disk."""
        ...


@dataclass(frozen=True)
class Ledger:
    """What an attempt writes to. Picklable if its appender is."""

    folder: Path
    appender: Appender
    store: Store | None = None
    """For the digests of the tasks' images."""
    attempt: int = 0
    """Number of this start of the run, from 0."""

    @classmethod
    def open(cls, folder: Path, *, first_step: int = 1, store: Store | None = None) -> Ledger:
        """Return the ledger of a new attempt, written by this process."""
        ledger = cls(folder, GroupCommit(AppendLog(folder, SAMPLES)), store, next_attempt(folder))
        ledger.begin(first_step)
        return ledger

    def begin(self, first_step: int) -> None:
        """Commit the attempt: it supersedes what earlier ones did from `first_step` on."""
        log = AppendLog(self.folder, ATTEMPTS)
        row = {"attempt": self.attempt, "first_step": first_step, "host": socket.gethostname(), "started": time.time()}
        log.append([row])
        log.close()

    async def record(self, request: GroupRequest, group: Group) -> None:
        """Commit the samples of a group. Raises OSError if they cannot be written."""
        await self.appender.append(await asyncio.to_thread(self._rows, request, group))

    def _rows(self, request: GroupRequest, group: Group) -> list[LedgerRow]:
        task = group.task
        common = {
            "attempt": self.attempt,
            "phase": request.phase.value,
            "step": request.step,
            "before_digest": self._digest(task.before),
            "after_digest": self._digest(task.after),
        }
        seeds = request.edit_seeds
        return [
            common | {"edit_seed": seeds[sample.index % len(seeds)]} | row_of(task, sample) for sample in group.samples
        ]

    def _digest(self, ref: ImageRef | None) -> str | None:
        if self.store is None:
            return None
        try:
            return self.store.digest(ref)
        except OSError:
            return None


def next_attempt(folder: Path) -> int:
    """Return the number of the attempt that starts now."""
    return 1 + max((row["attempt"] for row in read_log(folder, ATTEMPTS)), default=-1)


def holds_samples(folder: Path) -> bool:
    """Whether the ledger has any sample."""
    return next(read_log(folder, SAMPLES), None) is not None


def read_ledger(folder: Path) -> Iterator[LedgerRow]:
    """Yield the committed rows that no later one supersedes, in the order they were committed.

    Reads the logs twice, a row at a time: it keeps a key for each sample in memory, never the rows.
    """
    yield from _rows_at(sorted(_places(folder).values()))


def read_steps(folder: Path, phase: Phase | None = None) -> Iterator[list[LedgerRow]]:
    """Yield the rows of `read_ledger` one phase and step at a time, or only the steps of one phase.

    Rollouts that run ahead interleave the rows of several steps, so a step is collected from wherever
    its rows are; steps are ordered by their first row.
    """
    steps: dict[tuple[str, int], list[_Place]] = {}
    for (name, step, *_), place in sorted(_places(folder).items(), key=itemgetter(1)):
        if phase is None or name == phase:
            steps.setdefault((name, step), []).append(place)
    for places in steps.values():
        yield list(_rows_at(places))


def _rows_at(places: Iterable[_Place]) -> Iterator[LedgerRow]:
    for path, offsets in groupby(places, key=itemgetter(0)):
        with path.open("rb") as lines:
            for _, offset in offsets:
                lines.seek(offset)
                row = parse_line(lines.readline())
                assert row is not None, f"{path} changed while it was read"
                yield row


def _places(folder: Path) -> dict[_Key, _Place]:
    """Return the places of the rows that count."""
    limit_of = superseded_from(folder)
    places: dict[_Key, _Place] = {}
    for path in log_paths(folder, SAMPLES):
        for offset, row in read_rows(path):
            limit = limit_of(row["attempt"])
            if row["step"] < limit and not (limit < math.inf and row["phase"] == Phase.AFTER):
                places[row["phase"], row["step"], row["task_id"], row["index"]] = path, offset
    return places


def superseded_from(folder: Path) -> Callable[[int], float]:
    """Return a function of an attempt's number: the first step that a later attempt repeats; infinity if none does."""
    attempts = {row["attempt"]: row["first_step"] for row in read_log(folder, ATTEMPTS)}
    limits = {
        attempt: min((first for number, first in attempts.items() if number > attempt), default=math.inf)
        for attempt in attempts
    }
    return lambda attempt: limits.get(attempt, math.inf)
