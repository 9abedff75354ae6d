"""The trajectories of a build on disk: a row each, committed when it is whole, read again one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from actors.append_log import AppendLog, GroupCommit, log_paths, parse_line, read_rows
from rollout.trajectory import Trajectory, row_of_trajectory, trajectory_of

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

    def done(self) -> set[str]:
        """Return the ids of requests that were carried to their end: a call that failed may be made again."""
        return {request_id for request_id, (_, is_final) in self._places().items() if is_final}

    def read(self, request_ids: Iterable[str]) -> Iterator[Trajectory]:
        """Yield the committed trajectories of these requests, in their order, with one of them in memory."""
        places = self._places()
        for request_id in request_ids:
            if request_id not in places:
                continue
            (path, offset), _ = places[request_id]
            with path.open("rb") as lines:
                lines.seek(offset)
                row = parse_line(lines.readline())
            assert row is not None, f"{path} changed while it was read"
            yield trajectory_of(row)

    def _places(self) -> dict[str, tuple[_Place, bool]]:
        """Return where each request's row is, and whether it is final."""
        places: dict[str, tuple[_Place, bool]] = {}
        for path in log_paths(self._folder, KIND):
            for offset, row in read_rows(path):
                trouble = row["trouble"]
                places[row["request"]["id"]] = (path, offset), trouble is None or trouble["is_final"]
        return places
