"""The trajectories of a build on disk: a row each, committed when it is whole, read again one by one.

A request is known by a digest of all that it says: one that was edited since under the same id is another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from actors.append_log import AppendLog, GroupCommit, log_paths, parse_line, read_rows
from data.digests import digest_of
from rollout.trajectory import Request, Row, Trajectory, row_of_trajectory, trajectory_of

KIND = "trajectories"

_Place = tuple[Path, int]


class TrajectoryLog:
    """Takes the trajectories of one start; reads those of all. Of two rows of a request the later one counts."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._commit: GroupCommit | None = None

    async def append(self, trajectory: Trajectory) -> None:
        """Commit a trajectory. Raises OSError when it is not on disk."""
        if self._commit is None:
            self._commit = GroupCommit(AppendLog(self._folder, KIND))
        await self._commit.append([row_of_trajectory(trajectory)])

    def done(self) -> set[int]:
        """Return the digests of requests that were carried to their end: a call that failed may be made again."""
        return {digest for digest, (_, is_final) in self._places().items() if is_final}

    def read(self, requests: Iterable[int]) -> Iterator[Trajectory]:
        """Yield the committed trajectories of the requests of these digests, in their order, one of them in memory."""
        places = self._places()
        for digest in requests:
            if digest not in places:
                continue
            (path, offset), _ = places[digest]
            with path.open("rb") as lines:
                lines.seek(offset)
                row = parse_line(lines.readline())
            assert row is not None, f"{path} changed while it was read"
            yield trajectory_of(row)

    def _places(self) -> dict[int, tuple[_Place, bool]]:
        """Return where each request's row is, and whether it is final."""
        places: dict[int, tuple[_Place, bool]] = {}
        for path in log_paths(self._folder, KIND):
            for offset, row in read_rows(path):
                trouble = row["trouble"]
                places[_digest_of_row(row)] = (path, offset), trouble is None or trouble["is_final"]
        return places


def request_digest(request: Request) -> int:
    """Return the digest that the log knows a request by.

    >>> request_digest(Request("a", "a box")) == request_digest(Request("a", "two boxes"))
    False
    """
    return digest_of(json.dumps([request.id, request.text, *request.images]))


def _digest_of_row(row: Row) -> int:
    request = row["request"]
    return request_digest(Request(request["id"], request["text"], tuple(request["images"])))
