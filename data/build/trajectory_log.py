"""The trajectories of a build on disk: one row each, committed when complete, read back one by one.

A request is identified by a digest of its content: one that was edited and kept its id is another request.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.store.append_log import AppendLog, GroupCommit, log_paths, parse_line, read_rows
from actors.store.store import Store
from data.table.digest_log import digest_of
from rollout.types import (
    Attempt,
    Critique,
    Failure,
    ModelAnswer,
    Plan,
    PlanStep,
    Request,
    Scores,
    Stage,
    Trajectory,
)

KIND = "trajectories"
Row = dict[str, Any]

_Place = tuple[Path, int]
_NOT_KEPT = -1
"""Stands for a seed that no row has."""


class TrajectoryLog:
    """Takes the trajectories of one start; reads those of all starts. Of two rows of a request the later counts."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._commit: GroupCommit | None = None
        self._log: AppendLog | None = None

    async def append(self, trajectory: Trajectory) -> None:
        """Commit a trajectory. Raises OSError if it cannot be written to disk."""
        if self._commit is None:
            self._commit = GroupCommit(AppendLog(self._folder, KIND))
        await self._commit.append([row_of_trajectory(trajectory)])

    def write(self, trajectory: Trajectory) -> None:
        """Commit a trajectory where no others wait to be. Raises OSError as `append` does."""
        if self._log is None:
            self._log = AppendLog(self._folder, KIND)
        self._log.append([row_of_trajectory(trajectory)])

    def close(self) -> None:
        """Close what `write` opened."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def is_empty(self) -> bool:
        """Whether the log holds no trajectory yet."""
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

    def requests(self) -> list[int]:
        """Return the digest of each request of the log once, in the order in which they were written first."""
        return list(dict.fromkeys(digest for digest, _ in self._rows()))

    def _rows(self) -> Iterator[tuple[int, tuple[_Place, Row]]]:
        """Yield each row, with its request's digest and its place, in the order in which they were written."""
        for path in log_paths(self._folder, KIND):
            for offset, row in read_rows(path):
                yield _digest_of_row(row), ((path, offset), row)


def request_digest(request: Request) -> int:
    """Return the digest by which the log identifies a request.

    >>> request_digest(Request("a box", id="a")) == request_digest(Request("two boxes", id="a"))
    False
    """
    return digest_of(json.dumps([request.id, request.text, *request.images]))


def _is_final(row: Row) -> bool:
    return row["failure"] is None or row["failure"]["is_final"]


def _has_images(row: Row, store: Store) -> bool:
    refs = {ref for attempt in row["attempts"] for ref in (attempt["before"], attempt["after"]) if ref is not None}
    return all(store.has_image(ref) for ref in refs)


def _digest_of_row(row: Row) -> int:
    return request_digest(_request_of(row["request"]))


def row_of_trajectory(trajectory: Trajectory) -> Row:
    """Return plain JSON."""
    request = trajectory.request
    return {
        "request": {"id": request.id, "text": request.text, "images": request.images},
        "plan_text": trajectory.plan_text,
        "plan": trajectory.plan and asdict(trajectory.plan),
        "attempts": [_row_of_attempt(attempt) for attempt in trajectory.attempts],
        "accepted": {str(step): place for step, place in trajectory.accepted.items()},
        "failure": trajectory.failure and asdict(trajectory.failure),
    }


def trajectory_of(row: Row) -> Trajectory:
    """Return the trajectory of a row."""
    plan, failure = row["plan"], row["failure"]
    return Trajectory(
        request=_request_of(row["request"]),
        plan_text=row["plan_text"],
        plan=plan and Plan(tuple(PlanStep(**step) for step in plan["steps"]), plan["thought"]),
        attempts=tuple(map(_attempt_of, row["attempts"])),
        accepted={int(step): place for step, place in row["accepted"].items()},
        failure=failure and Failure(**{**failure, "stage": Stage(failure["stage"])}),
    )


def _row_of_attempt(attempt: Attempt) -> Row:
    return {
        "step": attempt.step,
        "index": attempt.number - 1,
        "instruction": attempt.instruction,
        "prompt": attempt.prompt,
        "seed": attempt.seed,
        "before": attempt.before,
        "after": attempt.after,
        "scores": attempt.scores and asdict(attempt.scores),
        "answer": attempt.answers[-1].text if attempt.answers else "",
        "critique": attempt.critique and asdict(attempt.critique),
        **({"correction": asdict(attempt.correction)} if attempt.correction else {}),
        "retried": [asdict(scores) for scores in attempt.retried],
        "refined": [asdict(scores) for scores in attempt.refined],
    }


def _request_of(row: Row) -> Request:
    return Request(row["text"], tuple(row["images"]), id=row["id"])


def _attempt_of(row: Row) -> Attempt:
    return Attempt(
        step=row["step"],
        number=row["index"] + 1,
        instruction=row["instruction"],
        prompt=row["prompt"],
        seed=row["seed"],
        before=row["before"],
        image=row["after"],
        scores=row["scores"] and Scores(**row["scores"]),
        answers=(ModelAnswer(_NOT_KEPT, row["answer"]),),
        critique=row["critique"] and Critique(**row["critique"]),
        correction=Critique(**row["correction"]) if "correction" in row else None,
        retried=tuple(Scores(**scores) for scores in row["retried"]),
        refined=tuple(Scores(**scores) for scores in row["refined"]),
    )
