"""A run that is killed while its ranks write a checkpoint: `python -m benchmarks.killed_save [--folder FOLDER]`.

The shapes world is trained for real for a few steps. The checkpoint of step 4 is held half-written while step 5 is
learned, and SIGKILL goes to all processes at once, as where a machine fails. Started again, the run has to go on from
the checkpoint of step 2 and learn steps 3 to 5 as the first one did; this time the write is let go on after step 5, and
no update may have waited for it. About a minute and a half on two cores.
"""

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from actors.ending_child import kill
from benchmarks.ending import run_main
from benchmarks.killed_save.hold import hold
from rl.tracking.metrics_file import read_metrics

HELD, LAST = 4, 6
"""The step whose checkpoint is held, and the last one."""
SAVE_EVERY = 2
MOST_DIFFERENCE = 1e-6
MOST_STAGING_S = 10.0
LEARNED = ("reward/mean", "policy/loss", "policy/grad_norm", "policy/entropy", "policy/lr")
OVERRIDES = (
    "tracking.backends=[]",
    "rollout.groups_per_step=4",
    "rollout.n=4",
    "generator.num_replicas=0",
    "judge.num_replicas=0",
    "evaluation.num_tasks=1",
    "evaluation.num_seeds=1",
    "evaluation.every=0",
    f"num_steps={LAST}",
    f"save_every={SAVE_EVERY}",
)
_PATIENCE_S = 400.0
_HELD = "from benchmarks.killed_save.held_run import main; main()"  # no `-m`: Ray sends what is in __main__ by value

Rows = Mapping[int, Mapping[str, float]]
"""What a step learned, by its number."""


class Life:
    """One start of the run in a folder."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]):
        self.folder, self.process = folder, process

    def rows(self) -> Rows:
        path = self.folder / "run"
        found = read_metrics(path) if (path / "metrics.jsonl").exists() else []
        return {row["step"]: row for row in found if "policy/grad_norm" in row}

    def wait_for(self, what: Callable[[], bool]) -> None:
        """Return once something is so. Raises RuntimeError if the run ends before, or it takes too long."""
        give_up = time.monotonic() + _PATIENCE_S
        while not what():
            if self.process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the moment never came: {(self.folder / 'said').read_text()[-1000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill all of its processes at once."""
        kill([self.process.pid])
        self.process.wait()


@contextmanager
def started(folder: Path, *more: str) -> Iterator[Life]:
    """Start the run; its processes, and temporary files, are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="h", dir="/tmp", ignore_cleanup_errors=True) as temporary:  # sockets
        own = [f"run_dir={folder / 'run'}", f"store={folder / 'store'}", *OVERRIDES, *more]
        with (folder / "said").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-c", _HELD, *own],
                env={**os.environ, "TMPDIR": temporary},
                stdout=said,
                stderr=said,
            )
        life = Life(folder, process)
        try:
            yield life
        finally:
            life.kill()


def kill_in_save(folder: Path) -> tuple[Rows, list[str]]:
    """Kill the run while a checkpoint is half-written; return what it learned, and what its folder has wrong."""
    checkpoints = folder / "run" / "checkpoints"
    half = checkpoints / f".step_{HELD:06d}.writing"
    hold(folder / "run", HELD).touch()
    with started(folder) as life:
        life.wait_for(lambda: HELD + 1 in life.rows())
        is_half = any(half.glob("policy/model_*.pt")) and not (half / "state.json").exists()
        life.kill()
        learned = life.rows()
    newest, whole = (checkpoints / "latest").read_text(), f"step_{HELD - SAVE_EVERY:06d}"
    left = sorted(path.name for path in checkpoints.iterdir())
    wrong = [] if is_half else ["the checkpoint was not half-written when the run was killed"]
    wrong += [] if newest == whole else [f"the newest checkpoint is {newest}, not {whole}"]
    wrong += [] if left == [half.name, "latest", whole] else [f"checkpoints has {left}"]
    return learned, wrong


def go_on(folder: Path, killed_at: float) -> tuple[Rows, list[str]]:
    """Start it again, and let the checkpoint go once the step after it is learned; return as `kill_in_save` does."""
    half = folder / "run" / "checkpoints" / f".step_{HELD:06d}.writing"
    with started(folder, "--resume") as life:
        life.wait_for(lambda: life.rows().get(HELD + 1, {"time": 0.0})["time"] > killed_at)
        life.wait_for(lambda: len(list(half.glob("policy/model_*.pt"))) == 2)
        hold(folder / "run", HELD).unlink()
        code = life.process.wait(_PATIENCE_S)
        learned = life.rows()
    wrong = [] if code == 0 else [f"the run that went on ended with code {code}"]
    left = sorted(path.name for path in half.parent.iterdir())
    right = ["latest", f"step_{HELD:06d}", f"step_{LAST:06d}"]
    return learned, wrong + ([] if left == right else [f"checkpoints has {left}, not {right}"])


def difference(one: Rows, other: Rows) -> float:
    """Return the largest relative difference of what the same steps learned; infinite where one was not learned.

    >>> row = dict.fromkeys(LEARNED, 2.0)
    >>> difference({3: row, 4: row}, {3: row, 4: row | {"policy/loss": 2.1}}), difference({3: row}, {4: row})
    (0.05, inf)
    """
    if one.keys() != other.keys():
        return math.inf
    pairs = [(one[step][name], other[step][name]) for step in one for name in LEARNED]
    return max(abs(a - b) / (abs(a) or 1.0) if math.isfinite(a) and math.isfinite(b) else math.inf for a, b in pairs)


def waits(row: Mapping[str, float], after: Mapping[str, float], state: Mapping[str, float]) -> list[str]:
    """Return how the step after a held checkpoint waited for it, by the checkpoint's own times; nothing if it did not.

    The whole of the step, its update included, has to lie between the staging and the end of the write.
    """
    began = row["time"] - row["seconds/update"]
    in_order = state["began"] <= state["staged"] <= began < row["time"] <= state["written"]
    wrong = [] if in_order else ["an update waited for a checkpoint to be written"]
    was_told = after["saving/seconds"] >= state["written"] - state["began"]
    return wrong + ([] if was_told else ["the seconds of the save are not in the next step's row"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killed_save", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the run is kept; default: a temporary folder")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="killed-save-") as temporary:
        folder = (chosen.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        before, wrong = kill_in_save(folder)
        after, more = go_on(folder, before[HELD + 1]["time"])
        wrong += more
        again = range(HELD - SAVE_EVERY + 1, HELD + 2)
        apart = difference(*({step: rows[step] for step in again if step in rows} for rows in (before, after)))
        state = json.loads((folder / "run" / "checkpoints" / f"step_{HELD:06d}" / "state.json").read_text())
        staging = after[HELD + 1]["saving/staging_seconds"]
        wrong += waits(after[HELD + 1], after[LAST], state)
    print(f"steps {again[0]} to {again[-1]}, learned again: at most {apart:.1e} apart (bar {MOST_DIFFERENCE:g})")
    print(f"staging of step {HELD}'s checkpoint: {staging:.2f} s (bar {MOST_STAGING_S:g})")
    for text in wrong:
        print(f"missed: {text}")
    return 0 if not wrong and apart <= MOST_DIFFERENCE and staging < MOST_STAGING_S else 1


if __name__ == "__main__":
    run_main(main)
