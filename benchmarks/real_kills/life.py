"""One life of a run: started by its command, hurt, and watched until it has ended or goes on."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from actors.losses.ray_parts import SAID_WITHIN_S, head_seconds
from actors.metered.usage_ledger import ANSWER
from actors.store.append_log import read_log
from actors.store.ledger import CALLS
from benchmarks.preemption import Started
from benchmarks.real_kills.injuries import DRIVER, TITLES, Injury, below, find
from rl.run_dir.resume import last_step

GROUPS, N = 4, 4
ENDS_S, GOES_ON_S, GONE_S = 30.0, 180.0, 120.0
"""Bars: to the line, to a step of a mended run that began after, and until nothing is left of a run that ended: agents
of a Ray whose driver was killed wait a minute for its head."""
_START_S = 20.0
"""How long after its process is there an engine is still starting."""


def overrides(num_steps: int) -> tuple[str, ...]:
    """Return what makes the demo's recipe small; no group is refilled, so that what each step learns from is known."""
    return (
        *(f"num_steps={num_steps}", "save_every=1", f"rollout.groups_per_step={GROUPS}", f"rollout.n={N}"),
        *(
            "rollout.max_refills=0",
            "samplers.kv_cache_gib=0.25",
            "judge.num_replicas=1",
            "tracking.backends=[tensorboard]",
        ),
        *("evaluation.num_tasks=4", "evaluation.num_seeds=1", "evaluation.every=0"),
    )


def ends_within(injury: Injury) -> float:
    """Return the bar of an end, in seconds: for a cluster's head Ray's own time to miss it comes first."""
    return head_seconds() + SAID_WITHIN_S if injury.is_of_cluster else ENDS_S


@dataclass
class Hurt:
    """What came of an injury."""

    injury: Injury
    outcome: str
    """`ended`, `mended`, or what is wrong."""
    seconds: float
    """To the end of the process, or of the step that goes on."""
    line: str
    """What the run said."""
    code: int | None
    step: int
    """The last one that was saved before."""
    kept: int
    """The last one that can be gone on from, after it."""
    left: list[str]
    """Processes that were still there some time after the end, by their titles."""
    committed: dict[str, int]
    """Rows in the bill of each answer that was in the store, after it."""

    @property
    def is_good(self) -> bool:
        most = ends_within(self.injury) if self.outcome == "ended" else GOES_ON_S
        has_line = bool(self.line) or self.injury.who == DRIVER or self.outcome == "mended"
        return self.outcome in ("ended", "mended") and self.seconds <= most and not self.left and has_line


class Life(Started):
    """The command, under way."""

    patience_s = 1800.0

    def reach(self, moment: str, at: float = 0.5) -> None:
        """Return in a moment, when the share `at` of it is over."""
        if moment != "starting":
            return super().reach(moment, at)
        self.wait_for(lambda: "starting the actors" in self.said)
        find(self.process.pid, TITLES["engine"])
        time.sleep(at * _START_S)

    def hurt(self, injury: Injury, victim: Callable[[], int] | None = None) -> Hurt:
        """Hurt a process, by default one of its own, when the moment comes, and see what becomes of the run."""
        self.reach(injury.moment, injury.at)
        processes = [*below(self.process.pid)]
        step, num_rows, num_said = last_step(self.run_dir), len(self.rows()), len(self.said)
        injury.hurt(victim() if victim else injury.victim(self.process.pid))
        began, began_at = time.monotonic(), time.time()
        is_over = self._until_over(began + (ends_within(injury) if injury.how == "SIGSTOP" else 0.0), num_rows)
        seconds = time.monotonic() - began
        outcome = "ended" if self.process.poll() is not None else "mended" if is_over else "hangs"
        if outcome == "mended":
            seconds = self.rows()[num_rows + 1]["time"] - began_at
        else:
            self.process.kill()
            self.process.wait()
        said = [line for line in self.said[num_said:].splitlines() if line.startswith("interleave: ")]
        left = _left(processes) if outcome != "mended" else []
        return Hurt(
            *(injury, outcome, round(seconds, 1), said[-1] if said else "", self.process.poll(), step),
            *(last_step(self.run_dir), left, committed(self.run_dir, self.run_dir.parent / "store")),
        )

    def end(self) -> None:
        """End it, if it still goes on."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def _until_over(self, earliest: float, num_rows: int) -> bool:
        """Return once the process has ended, or a step is saved that began after the injury; False: neither comes.

        A step counts no earlier than a time: some go on for a while with what hangs. One that is not saved may end the
        run.
        """
        while time.monotonic() < earliest + GOES_ON_S:
            if self.process.poll() is not None:
                return True
            later = [row["step"] for row in self.rows()[num_rows + 1 :]]
            if later and last_step(self.run_dir) >= later[0] and time.monotonic() > earliest:
                return True
            time.sleep(0.05)
        return False


def committed(run_dir: Path, store: Path) -> dict[str, int]:
    """Return how often each answer that is in the store stands in the bill: its row is written before it."""
    stored = [path.stem for path in sorted(store.glob("calls/*/*.json"))]
    rows = Counter(row["key"] for row in read_log(run_dir / "ledger", CALLS) if row["outcome"] == ANSWER)
    return {key: rows[key] for key in stored}


def _left(processes: Sequence[psutil.Process]) -> list[str]:
    """Return which processes of a run are left some time after its end, and kill them."""
    titles = []
    for process in psutil.wait_procs(list(processes), timeout=GONE_S)[1]:
        with suppress(psutil.NoSuchProcess):
            titles.append(f"{' '.join(' '.join(process.cmdline()).split())[:100]} ({process.status()})")
            process.kill()
    return titles
