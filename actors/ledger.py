"""The ledger of a run: one row for each sample, with everything that it cost and earned.

    <run>/ledger/attempt-000.jsonl    "<crc32> <json>" a line; a row is committed once it is synced

Each start of a run writes a file of its own, so no two processes share one. A resumed run repeats the
steps after its checkpoint and evaluates again at the end: what it repeats is superseded, not doubled.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rollout.types import Group, Sample, Task

LedgerRow = dict[str, Any]


class Ledger:
    """Appends rows; `first_step` is the first step that this attempt will do."""

    def __init__(self, folder: Path, *, first_step: int = 1):
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("attempt-*.jsonl")))
        self._file = (folder / f"attempt-{number:03d}.jsonl").open("x", encoding="utf-8")
        self._append([{"first_step": first_step}])

    def write(self, phase: str, step: int, groups: Iterable[Group]) -> None:
        """Commit the samples of a phase (train, before, during, after) and step."""
        self._append(
            {"phase": phase, "step": step, **_row(group.task, sample)} for group in groups for sample in group.samples
        )

    def _append(self, rows: Iterable[LedgerRow]) -> None:
        for row in rows:
            text = json.dumps(row, ensure_ascii=False)
            self._file.write(f"{zlib.crc32(text.encode()):08x} {text}\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_ledger(folder: Path) -> Iterator[LedgerRow]:
    """Yield the committed rows that no later attempt supersedes; a torn last line is skipped."""
    attempts = [list(_rows(path)) for path in sorted(folder.glob("attempt-*.jsonl"))]
    for number, rows in enumerate(attempts):
        later = [other[0]["first_step"] for other in attempts[number + 1 :] if other]
        limit = min(later, default=float("inf"))
        for row in rows[1:]:
            if row["step"] < limit and not (later and row["phase"] == "after"):
                yield row


def _rows(path: Path) -> Iterator[LedgerRow]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            checksum, _, text = line.rstrip("\n").partition(" ")
            if checksum == f"{zlib.crc32(text.encode()):08x}":
                yield json.loads(text)


def _row(task: Task, sample: Sample) -> LedgerRow:
    evidence = sample.evidence
    row: LedgerRow = {
        "task_id": task.id,
        "index": sample.index,
        "seed": sample.seed,
        "instruction": task.instruction,
        "prompt": task.prompt,
        "before": task.before,
        "after": task.after,
        "is_success": task.is_success,
        "baseline": asdict(task.scores),
        "failure": sample.failure and asdict(sample.failure),
        "reward": sample.reward and {"terms": dict(sample.reward.terms), "total": sample.reward.total},
        "seconds": dict(sample.seconds),
    }
    if evidence is not None:
        row |= {
            "response": evidence.response.text,
            "num_tokens": len(evidence.response.token_ids),
            "policy_version": evidence.response.policy_version,
            "critique": evidence.critique and asdict(evidence.critique),
            "parse_error": evidence.parse_error,
            "image": evidence.image,
            "scores": evidence.scores and asdict(evidence.scores),
        }
    return row
