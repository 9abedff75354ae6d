"""SIGTERM at six moments of one run: `python -m benchmarks.preemption [--group] [--out FILE]`.

The shapes world is trained for a few steps by the one command that a scheduler would start again and again, with
`--resume auto`, and is sent SIGTERM while it starts, evaluates, rolls out, updates, publishes and saves: moments within
a step are aimed at by the times of the steps before. Each time the process has to end with code 75 within 20 s, and at
last the run has to end by itself with each step learned once. `--group` sends it to the process group.
About ten minutes on two cores.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.ending import run_main
from rl.preemption import EXIT_CODE
from rl.run_dir.resume import last_step
from rl.tracking.metrics_file import read_metrics

RECIPE, NUM_STEPS = "recipes/shapes_grpo.yaml", 12
OVERRIDES = (f"num_steps={NUM_STEPS}", "save_every=1", "evaluation.num_tasks=32", "evaluation.every=0")
MOST_SECONDS, PATIENCE_S = 20.0, 300.0
_PARTS = ("waiting_for_rollouts", "update", "publish", "saving")
MOMENTS = ("starting", "evaluation", *_PARTS)


@dataclass(frozen=True)
class Ended:
    """How a process ended that was sent SIGTERM."""

    moment: str
    seconds: float
    """From the signal to the end."""
    code: int
    saved_step: int
    said: str


class Started:
    """The command, under way."""

    patience_s = PATIENCE_S
    """How long a moment may take to come."""

    def __init__(
        self,
        folder: Path,
        overrides: Sequence[str] = OVERRIDES,
        environment: Mapping[str, str] = os.environ,
        *,
        is_group: bool = False,
    ):
        self.run_dir, self._said = folder / "run", folder / "said"
        own = [f"run_dir={self.run_dir}", f"store={folder / 'store'}", "tracking.backends=[]"]
        command = [sys.executable, "-m", "rl.cli", "train", RECIPE, "--resume", "auto", *own, *overrides]
        with self._said.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, env=environment, process_group=0 if is_group else None
            )

    @property
    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, what: Callable[[], bool]) -> None:
        """Return once something is so. Raises RuntimeError if the process ends before, or it takes too long."""
        give_up = time.monotonic() + self.patience_s
        while not what():
            if self.process.poll() is not None or time.monotonic() > give_up:
                self.process.kill()
                raise RuntimeError(f"the moment never came: {self.said[-1000:]}")
            time.sleep(0.02)

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in read_metrics(self.run_dir) if "seconds/step" in row]

    def reach(self, moment: str, at: float = 0.5) -> None:
        """Return in a moment, when the share `at` of it is over."""
        if moment == "starting":
            self.wait_for(lambda: "starting the actors" in self.said)
            time.sleep(3.0)
        elif moment == "evaluation":
            self.wait_for(lambda: "before training ..." in self.said)
            time.sleep(1.0)
        else:
            begun = len(self.rows())
            self.wait_for(lambda: len(self.rows()) >= begun + 2)
            row = self.rows()[-1]
            time.sleep(max(0.0, row["time"] + time_in(moment, row, at) - time.time()))


def time_in(part: str, row: Mapping[str, float], at: float = 0.5) -> float:
    """Return when the share `at` of a part is over, in seconds after a step has ended, if the next one is like it.

    >>> time_in("update", {"seconds/waiting_for_rollouts": 4.0, "seconds/update": 2.0, "seconds/saving": 1.0})
    6.0
    """
    order = ("saving", "waiting_for_rollouts", "update", "publish")  # a step is saved after its row is written
    before = sum(row.get(f"seconds/{name}", 0.0) for name in order[: order.index(part)])
    return before + at * row.get(f"seconds/{part}", 0.0)


def preempt(folder: Path, moment: str, is_group: bool) -> Ended:
    started = Started(folder, is_group=is_group)
    try:
        started.reach(moment)
        began = time.monotonic()
        (os.killpg if is_group else os.kill)(started.process.pid, signal.SIGTERM)
        code = started.process.wait(PATIENCE_S)
    finally:
        started.process.kill()
    told = started.said.strip().splitlines()[-1]
    return Ended(moment, time.monotonic() - began, code, last_step(started.run_dir), told)


def finish(folder: Path) -> tuple[int, dict[int, int]]:
    """Let the run come to its end; return its code and how often each step stands in its metrics."""
    started = Started(folder)
    code = started.process.wait()
    return code, Counter(row["step"] for row in started.rows())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preemption", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the run is kept; default: a temporary folder")
    parser.add_argument("--group", action="store_true", help="send it to all of the process group, as `timeout` does")
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="preemption-") as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        ended = []
        for moment in MOMENTS:
            ended.append(preempt(folder, moment, chosen.group))
            one = ended[-1]
            print(
                f"{one.moment:22} {one.seconds:5.1f} s  code {one.code}  step {one.saved_step}  {one.said}", flush=True
            )
        code, steps = finish(folder)
    is_whole = code == 0 and steps == dict.fromkeys(range(1, NUM_STEPS + 1), 1)
    print(
        f"then the run ended with code {code}; each of its {NUM_STEPS} steps once: {'yes' if is_whole else dict(steps)}"
    )
    slowest, codes = max(one.seconds for one in ended), sorted({one.code for one in ended})
    print(f"slowest end {slowest:.1f} s (bar {MOST_SECONDS:g}); codes {codes} (bar {EXIT_CODE})")
    if chosen.out:
        chosen.out.write_text(
            json.dumps({"ended": [asdict(one) for one in ended], "code": code, "steps": steps}, indent=1)
        )
    is_good = is_whole and slowest < MOST_SECONDS and all(one.code == EXIT_CODE for one in ended)
    return 0 if is_good else 1


if __name__ == "__main__":
    run_main(main)
