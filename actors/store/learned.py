"""What each step learned from, and how old it was.

    <run>/ledger/steps-*.log    a row for each step: the policy's version before the update and, for each group, the
                                step and task that it was begun for, whether anything is learned from it (its rewards
                                may all be equal), and how many versions behind each of its samples is

Written before the update: of a step that a kill interrupts the row is there, and superseded when the step is repeated.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from actors.store.append_log import AppendLog, read_log
from actors.store.ledger import superseded_from
from rollout.types import Group, Sample

STEPS = "steps"
StepRow = dict[str, Any]


class LearnedLog:
    """Written by the driver alone."""

    def __init__(self, folder: Path, attempt: int):
        self._folder, self._attempt = folder, attempt
        self._log: AppendLog | None = None

    def append(self, step: int, version: int, groups: Iterable[tuple[Group, bool]]) -> None:
        """Commit the row of a step, and whether each of its groups is learned from. Raises OSError if it cannot."""
        self._log = self._log or AppendLog(self._folder, STEPS)
        rows = [
            {
                "step": group.step,
                "task_id": group.task.id,
                "is_learned": is_learned,
                "behind": [_behind(version, sample) for sample in group.samples],
            }
            for group, is_learned in groups
        ]
        self._log.append([{"attempt": self._attempt, "step": step, "version": version, "groups": rows}])

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


def read_learned(folder: Path) -> Iterator[StepRow]:
    """Yield the rows of a run's steps that no later attempt repeats, in the order of the steps."""
    limits = superseded_from(folder)
    rows = {row["step"]: row for row in read_log(folder, STEPS) if row["step"] < limits(row["attempt"])}
    yield from (rows[step] for step in sorted(rows))


def _behind(version: int, sample: Sample) -> int | None:
    """Return how old a sample is, in versions; None for one that failed."""
    evidence = sample.evidence if sample.is_valid else None
    return None if evidence is None else version - evidence.response.policy_version
