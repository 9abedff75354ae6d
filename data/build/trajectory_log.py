"""The trajectories of a build on disk: one row each, committed when complete, read back one by one.

A request is identified by a digest of its content: one that was edited and kept its id is another request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from actors.store.append_log import AppendLog, GroupCommit, log_paths, parse_line, read_rows
from actors.store.store import Store
from data.table.digest_log import digest_of
from rollout.trajectory import Request, Row, Trajectory, row_of_trajectory, trajectory_of

KIND = "trajectories"

_Place = tuple[Path, int]


class TrajectoryLog:
    """Takes the trajectories of one start; reads those of all starts. Of two rows of a request the later counts."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._commit: GroupCommit | None = None

    async def append(self, trajectory: Trajectory) -> None:
        """Commit a trajectory. Raises OSError if it cannot be written to disk."""
        if self._commit is None:
            self._commit = GroupCommit(AppendLog(self._folder, KIND))
        await self._commit.append([row_of_trajectory(trajectory)])

    def is_empty(self) -> bool:
        """Whether no request has been walked yet."""
        return next(self._rows(), None) is None

    def done(self, store: Store) -> tuple[set[int], set[int]]:
        """Return the digests of finished requests, and of finished requests whose images are gone.

        A call that failed may be made again, so its request is in neither set.
        """
        done, lost = set[int](), set[int]()
        for digest, (_, row) in self._rows():
            done.discard(digest)
            lost.discard(digest)
            if _is_final(row):
                (done if _has_images(row, store) else lost).add(digest)
        return done, lost

    def read(self, requests: Iterable[int]) -> Iterator[Trajectory]:
        """Yield the committed trajectories of requests, by digest, in the given order, one in memory at a time."""
        places = {digest: place for digest, (place, _) in self._rows()}
        for digest in requests:
            if digest not in places:
                continue
            path, offset = places[digest]
            with path.open("rb") as lines:
                lines.seek(offset)
                row = parse_line(lines.readline())
            assert row is not None, f"{path} changed while it was read"
            yield trajectory_of(row)

    def _rows(self) -> Iterator[tuple[int, tuple[_Place, Row]]]:
        """Yield each row, with its request's digest and its place, in the order in which they were written."""
        for path in log_paths(self._folder, KIND):
            for offset, row in read_rows(path):
                yield _digest_of_row(row), ((path, offset), row)


def request_digest(request: Request) -> int:
    """Return the digest by which the log identifies a request.

    >>> request_digest(Request("a", "a box")) == request_digest(Request("a", "two boxes"))
    False
    """
    return digest_of(json.dumps([request.id, request.text, *request.images]))


def _is_final(row: Row) -> bool:
    return row["failure"] is None or row["failure"]["is_final"]


def _has_images(row: Row, store: Store) -> bool:
    refs = {ref for attempt in row["attempts"] for ref in (attempt["before"], attempt["after"]) if ref is not None}
    return all(store.image_path(ref).exists() for ref in refs)


def _digest_of_row(row: Row) -> int:
    request = row["request"]
    return request_digest(Request(request["id"], request["text"], tuple(request["images"])))
