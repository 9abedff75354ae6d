"""What a run's own files say while it goes on, and when they said it."""

import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from actors.store.append_log import read_log
from actors.store.ledger import SAMPLES, read_ledger
from rl.tracking.metrics_file import read_metrics
from rollout.types import Phase


@dataclass
class Seen:
    """A row of the ledger, when it was first seen and how long its sample was under way."""

    at: float
    step: int
    seconds: float


@dataclass
class Watch:
    """Follows a run's folder; times are those of `time.monotonic`."""

    folder: Path
    samples: list[Seen] = field(default_factory=list)
    """Of training steps, in the order of their commits."""
    steps: dict[int, float] = field(default_factory=dict)
    """When each step ended."""
    _num_rows: int = 0

    def look(self) -> None:
        """Take in what is new."""
        rows = list(read_log(self.folder / "ledger", SAMPLES))
        now = time.monotonic()
        for row in rows[self._num_rows :]:
            if row["phase"] == Phase.TRAIN:
                self.samples.append(Seen(now, row["step"], sum(row["seconds"].values())))
        self._num_rows = len(rows)
        for metrics in read_metrics(self.folder):
            if "rollout/failure_share" in metrics:
                self.steps.setdefault(metrics["step"], now)

    def num_of(self, step: int) -> int:
        """Count the rows of a step."""
        return sum(sample.step == step for sample in self.samples)

    def first_after(self, moment: float, *, is_begun_after: bool = False) -> float:
        """Return how long after a moment the first sample was there, or the first that was begun after it."""
        times = [one.at for one in self.samples if one.at - (one.seconds if is_begun_after else 0.0) > moment]
        return min(times, default=float("inf")) - moment

    def num_begun_after(self, moment: float, step: int) -> int:
        """Count the samples of a step that were begun after a moment: in the middle of it, those rolled out again."""
        return sum(one.step == step and one.at - one.seconds > moment for one in self.samples)

    def longest_silence(self, begin: float, end: float) -> float:
        """Return the longest time between two moments without a new sample."""
        times = sorted({begin, end, *(one.at for one in self.samples if begin < one.at < end)})
        return max(late - early for early, late in pairwise(times))


def account(folder: Path, num_steps: int, groups: int, n: int) -> dict[str, int]:
    """Hold the ledger of a run that has ended against what it has to contain: each sample of each step, once."""
    rows: list[dict[str, Any]] = [row for row in read_ledger(folder / "ledger") if row["phase"] == Phase.TRAIN]
    written = sum(row["phase"] == Phase.TRAIN for row in read_log(folder / "ledger", SAMPLES))
    keys = Counter((row["step"], row["task_id"], row["index"]) for row in rows)
    indices: dict[tuple[int, str], set[int]] = {}
    for step, task, index in keys:
        indices.setdefault((step, task), set()).add(index)
    whole = Counter(step for (step, _), found in indices.items() if found == set(range(n)))
    return {
        "expected": num_steps * groups * n,
        "once": sum(count == 1 for count in keys.values()),
        "twice": sum(count > 1 for count in keys.values()),
        "lost": sum(n * (groups - whole[step]) for step in range(1, num_steps + 1)),
        "failed": sum(row["failure"] is not None for row in rows),
        "repeated": written - len(rows),
    }
