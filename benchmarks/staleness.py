"""What a run ahead costs in reward and saves in time: `python -m benchmarks.staleness [--seeds 0,1,2] [--out FILE]`.

The shapes world is trained on-policy (max_staleness 0) and one step ahead (1, with verl's token-level correction), in
turns, each run with a store of its own. Their evaluations after training are compared by task: the same tasks, seeds
and judge. Prints a row a run and ends with exit code 1 where a bar is missed. An hour and a half on two cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from actors.store.learned import read_learned
from benchmarks.ending import run_main
from rl.evaluation import Change, Evaluation, compare

RECIPE = "recipes/shapes_grpo.yaml"
OVERRIDES = {0: [], 1: ["max_staleness=1", "algorithm.loss.rollout_correction=token"]}
LOWEST_DIFFERENCE, LARGEST_RATIO = -0.01, 1.0


@dataclass(frozen=True)
class Run:
    """What one run came to."""

    seed: int
    max_staleness: int
    seconds: float
    """From its start to its end, actors' start and evaluations included."""
    reward: float
    """Held out, after training."""
    oldest: int
    """Most versions that a learned sample was behind."""
    mean_age: float


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.staleness", description=__doc__)
    parser.add_argument("--seeds", default="0,1,2", help="default: 0,1,2")
    parser.add_argument("--folder", type=Path, help="where the runs are kept; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    parser.add_argument("overrides", nargs="*", help="of the recipe, for all runs, as num_steps=10")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="staleness-") as temporary:
        folder = chosen.folder or Path(temporary)
        runs, changes = [], []
        for seed in map(int, chosen.seeds.split(",")):
            pair = [train(folder, seed, k, chosen.overrides) for k in OVERRIDES]
            runs += pair
            on_policy, ahead = (
                Evaluation.load(folder_of(folder, seed, k) / "evaluation_after.json") for k in OVERRIDES
            )
            changes.append(compare(on_policy, ahead)["reward"])
            print_pair(pair, changes[-1])
    return report(runs, changes, chosen.out)


def folder_of(folder: Path, seed: int, max_staleness: int) -> Path:
    return folder / f"seed{seed}-k{max_staleness}"


def train(folder: Path, seed: int, max_staleness: int, overrides: Sequence[str]) -> Run:
    """Train in a process of its own, and read what came of it."""
    run_dir = folder_of(folder, seed, max_staleness)
    own = [f"seed={seed}", f"run_dir={run_dir}", f"store={run_dir}-store", "tracking.backends=[]"]
    command = [sys.executable, "-m", "rl.cli", "train", RECIPE, *own, *OVERRIDES[max_staleness], *overrides]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    ages = [
        age
        for row in read_learned(run_dir / "ledger")
        for group in row["groups"]
        if group["is_learned"]
        for age in group["behind"]
        if age is not None
    ]
    reward = Evaluation.load(run_dir / "evaluation_after.json").figures()["reward"]
    return Run(seed, max_staleness, seconds, reward, max(ages), fmean(ages))


def print_pair(pair: Sequence[Run], change: Change) -> None:
    for run in pair:
        print(
            f"seed {run.seed}  max_staleness {run.max_staleness}  {run.seconds:6.0f} s  reward {run.reward:.4f}  "
            f"samples {run.mean_age:.2f} versions behind, at most {run.oldest}",
            flush=True,
        )
    print(
        f"seed {pair[0].seed}  difference {change.difference:+.4f} ({change.low:+.4f} to {change.high:+.4f})",
        flush=True,
    )


def report(runs: Sequence[Run], changes: Sequence[Change], out: Path | None) -> int:
    """Print the figures over all seeds with their bars; return 1 where one is missed."""
    seconds = {k: sum(run.seconds for run in runs if run.max_staleness == k) for k in OVERRIDES}
    difference = fmean(change.difference for change in changes)
    ratio = seconds[1] / seconds[0]
    is_bounded = all(run.oldest <= run.max_staleness for run in runs)
    print(f"one step ahead: reward {difference:+.4f} of on-policy's; bar: at least {LOWEST_DIFFERENCE:+.2f}")
    print(f"one step ahead: {ratio:.2f} times the wall time; bar: at most {LARGEST_RATIO:.2f}")
    print(f"every learned sample within max_staleness: {'yes' if is_bounded else 'no'}; bar: yes")
    if out is not None:
        found = {
            "runs": [asdict(run) for run in runs],
            "differences": [asdict(change) for change in changes],
            "difference": difference,
            "wall_time_ratio": ratio,
        }
        out.write_text(json.dumps(found, indent=1))
    return int(not (difference >= LOWEST_DIFFERENCE and ratio <= LARGEST_RATIO and is_bounded))


if __name__ == "__main__":
    run_main(main)
