"""Two steps of verl's own trainer around our rollout: `python -m benchmarks.verl_trainer [--folder FOLDER]`.

Runs recipes/verl/shapes_grpo.sh and compares three accounts of each sample: the reward that verl learned from, the one
in the ledger, and the one that `interleave rescore` computes again. Ends with exit code 1 where they are not the same
or it took longer than the limit. Needs the package TransferQueue (docs/verl.md); about ten minutes on two cores.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from actors.store.ledger import read_ledger
from benchmarks.ending import run_main
from rl.recipe.config import REPO
from rl.rescore.run import rescore

SCRIPT = REPO / "recipes" / "verl" / "shapes_grpo.sh"
Account = Counter[tuple[int, float]]
"""How often a step has a reward."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the run is kept; default: nowhere")
    parser.add_argument("--limit-s", type=float, default=1200.0, help="wall time that it may take")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="verl-trainer-") as folder:
        run_dir = (chosen.folder or Path(folder) / "run").resolve()
        seconds = train(run_dir, chosen.limit_s)
        is_good = report(run_dir)
    print(f"{seconds:.0f} s, of {chosen.limit_s:.0f} s allowed")
    return 0 if is_good and seconds <= chosen.limit_s else 1


def train(run_dir: Path, limit_s: float) -> float:
    """Run the script; return its seconds. Raises RuntimeError if it fails, `TimeoutExpired` at twice the limit."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    start = time.monotonic()
    done = subprocess.run(
        [str(SCRIPT)], cwd=REPO, env={**os.environ, "PATH": path, "RUN_DIR": str(run_dir)}, timeout=2 * limit_s
    )
    if done.returncode:
        raise RuntimeError(f"{SCRIPT} ended with code {done.returncode}")
    return time.monotonic() - start


def report(run_dir: Path) -> bool:
    """Print what three accounts have in common; return whether that is all of it."""
    ours, verls = in_ledger(run_dir), in_verl(run_dir)
    rescored = asyncio.run(rescore(run_dir)).samples
    print(f"steps                                  {len({step for step, _ in ours})}")
    print(f"samples in the ledger                  {rescored.num_samples}")
    print(f"with a reward                          {rescored.num_rewarded_before}")
    print(f"the same again by `rescore`, bit by bit {rescored.num_identical}")
    print(f"the same in verl's own account         {(ours & verls).total()}")
    return bool(ours) and ours == verls and rescored.num_identical == rescored.num_rewarded_before


def in_ledger(run_dir: Path) -> Account:
    """Return the rewards of a run's training samples, as float32: verl keeps no more of them."""
    rows = (row for row in read_ledger(run_dir / "ledger") if row["phase"] == "train" and row["reward"])
    return Counter((row["step"], float(np.float32(row["reward"]["total"]))) for row in rows)


def in_verl(run_dir: Path) -> Account:
    """Return the rewards that verl says it learned from (trainer.rollout_data_dir)."""
    lines = (line for file in (run_dir / "rollouts").glob("*.jsonl") for line in file.read_text().splitlines())
    return Counter((row["step"], row["score"]) for row in map(json.loads, lines))


if __name__ == "__main__":
    run_main(main)
