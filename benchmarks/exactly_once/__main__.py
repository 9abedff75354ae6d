"""SIGKILL a run at every moment of its life: `python -m benchmarks.exactly_once [--kills 200] [--out DIR]`.

Each cell of a matrix (who is killed x at which moment x k = max_staleness 0, 1, 2) has runs of its own, on the real
driver: stream, kept groups, paid calls, store, ledger, log, TensorBoard, checkpoints, evaluations and report, with
stand-ins for models and Ray. They are killed at instants drawn by the seed, go on by the same command, and are then
held against a run that was left alone: tasks lost, tasks trained twice, committed calls made again, rows doubled in
metrics, ledger and trackers, each has to be 0. Calls under way at a kill are made at most once more: `repeated`.
Generator and judge note every call in a file of their own, and weights remember what they learned from, so that no
count rests on the ledger alone. Exit code 1 on a missed bar. A second start goes on with the same --out.
"""

import argparse
import gc
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console

from benchmarks.ending import run_main
from benchmarks.exactly_once.matrix import LEADS, Alone, Cell, Tried, cells, leave_alone, try_cell
from benchmarks.exactly_once.verdict import save, show


def try_all(chosen: Sequence[Cell], kills: int, folder: Path, *, seed: int = 0, at_once: int = 2) -> list[Tried]:
    """Try cells, so many kills each; those that the folder holds are not tried again."""
    (folder / "cells").mkdir(parents=True, exist_ok=True)
    gc.freeze()  # else the first collection of a life would copy all that it shares with the others
    leads = sorted({cell.k for cell in chosen})
    alone = {k: leave_alone(folder / "alone" / str(k), k) for k in leads}
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(at_once, mp_context=context) as pool:
        trying = [pool.submit(_tried, cell, alone[cell.k], folder, kills, seed) for cell in chosen]
        return [one.result() for one in trying]


def _tried(cell: Cell, alone: Alone, folder: Path, kills: int, seed: int) -> Tried:
    name = f"{cell.who}-{cell.moment}-{cell.k}".replace(" ", "-")
    saved = folder / "cells" / f"{name}.json"
    if not saved.exists():
        one = try_cell(cell, alone, folder / "runs" / name, kills, seed)
        one.save(saved)
        breaches = sum(sum(run.breaches.values()) for run in one.runs)
        print(f"{name}: {one.kills} kills in {one.seconds:.0f} s, {breaches} breaches", flush=True)
    return Tried.load(saved)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.exactly_once",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=200, help="in all; default: 200")
    parser.add_argument("--out", type=Path, help="folder to go on with; default: a temporary one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time; default: 2")
    chosen = parser.parse_args(arguments)
    if chosen.kills < 1 or chosen.at_once < 1:
        parser.error("--kills and --at-once have to be 1 or more")
    console, began = Console(highlight=False, soft_wrap=True, width=140), time.monotonic()
    per_cell = -(-chosen.kills // len(cells()))
    with tempfile.TemporaryDirectory(prefix="exactly-once-") as temporary:
        folder = chosen.out or Path(temporary)
        tried = try_all(cells(), per_cell, folder, seed=chosen.seed, at_once=chosen.at_once)
        save(tried, chosen.kills, folder / "exactly_once.json")
    missed = show(tried, chosen.kills, console)
    console.print(
        f"{len(tried)} cells at k = {', '.join(map(str, LEADS))} in {(time.monotonic() - began) / 60:.0f} minutes"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    run_main(main)
