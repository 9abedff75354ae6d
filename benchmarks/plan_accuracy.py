"""How well a plan predicts a step: `python -m benchmarks.plan_accuracy [--out FOLDER] [--steps 9] [--rounds 2]`.

The demo's components, all on this machine's cores: stage times of a run without lead, 16 groups of 8, predict its own
step, that of 24 groups of 4, and that of rollouts one step ahead. Runs take turns, so that what else the machine does
is no round's alone; runs whose folders are there are not repeated. The bar is 15 % of the mean step, the first one and,
one step ahead, the last one left out. Takes about two minutes a run.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from benchmarks.ending import run_main
from rl.plan.devices import num_cores
from rl.plan.rules import rules_of
from rl.plan.run_times import RunTimes, read_run_times
from rl.plan.scaled_times import ScaledTimes
from rl.plan.stages import predict

BAR = 0.15
BASE = "k=0, 16 x 8"
_AHEAD = ["max_staleness=1", "algorithm.loss.rollout_correction=token"]
RUNS = {
    BASE: ["rollout.groups_per_step=16", "rollout.n=8"],
    "k=0, 24 x 4": ["rollout.groups_per_step=24", "rollout.n=4"],
    "k=1, 16 x 8": ["rollout.groups_per_step=16", "rollout.n=8", *_AHEAD],
}


@dataclass(frozen=True)
class Compared:
    """A run, and what the stage times of the round's first one say of it; seconds a step."""

    name: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def compare(base: RunTimes, name: str, run: RunTimes, cores: int) -> Compared:
    """Predict a run by the times of another one."""
    stages = ScaledTimes(base).stages(run.recipe)
    return Compared(name, run.step_s, predict(rules_of(run.recipe), stages, cores).step_s)


def _train(folder: Path, steps: int, overrides: list[str]) -> None:
    settings = ["evaluation.num_tasks=8", "evaluation.every=0", "save_every=0", "tracking.backends=[]"]
    settings += [f"num_steps={steps}", f"run_dir={folder}", f"store={folder}-store", *overrides]
    command = [sys.executable, "-m", "rl.cli", "train", "recipes/shapes_grpo.yaml", *settings]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main(arguments: list[str] | None = None) -> int:
    """Run what is not there, and compare; return 1 where a mean over the rounds misses the bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_accuracy", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/plan_accuracy"), help="default: runs/plan_accuracy")
    parser.add_argument("--steps", type=int, default=9, help="of each run; default: 9")
    parser.add_argument("--rounds", type=int, default=2, help="default: 2")
    chosen = parser.parse_args(arguments)
    found: dict[str, list[Compared]] = {name: [] for name in RUNS}
    for number in range(chosen.rounds):
        times = {}
        for place, (name, overrides) in enumerate(RUNS.items()):
            folder = chosen.out / f"round-{number}-{place}"
            if not (folder / "report.html").exists():
                _train(folder, chosen.steps, overrides)
            times[name] = read_run_times(folder)
        for name in RUNS:
            found[name].append(compare(times[BASE], name, times[name], num_cores()))
    errors = _show(found)
    (chosen.out / "accuracy.json").write_text(json.dumps(errors, indent=1))
    return int(max(map(abs, errors.values())) > BAR)


def _show(found: dict[str, list[Compared]]) -> dict[str, float]:
    """Print each round and return the mean error of each run."""
    table = Table(title=f"seconds a step; bar: {BAR:.0%} on average", title_justify="left")
    for column in ("run", "measured", "predicted", "errors", "on average"):
        table.add_column(column, justify="left" if column == "run" else "right")
    errors = {}
    for name, rounds in found.items():
        errors[name] = fmean(one.error for one in rounds)
        table.add_row(
            name,
            ", ".join(f"{one.measured:.1f}" for one in rounds),
            ", ".join(f"{one.predicted:.1f}" for one in rounds),
            ", ".join(f"{one.error:+.0%}" for one in rounds),
            f"{errors[name]:+.0%}",
        )
    Console(highlight=False).print(table)
    return errors


if __name__ == "__main__":
    run_main(main)
