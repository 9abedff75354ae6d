"""How long `interleave rescore` takes: `python -m benchmarks.rescore_speed [--samples 100000] [--limit-s 60]`.

Writes a run folder with a synthetic ledger (16 groups of 8 a step, answers of about 200 tokens, one in
twenty unparsable, one in fifty failed), rescores it under its own recipe and under another, and prints
seconds and peak memory of each command, start-up included. Ends with exit code 1 when one took longer than the limit.
"""

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from actors.store.append_log import AppendLog
from benchmarks.ending import run_main
from rewards.compose import WeightedSum
from rl.recipe.config import REPO, Recipe
from rl.recipe.reader import load_recipe, to_yaml
from rollout.rows import Row, row_of
from rollout.text.critique import format_critique
from rollout.types import Critique, Evidence, Failure, Response, Sample, Scores, Stage, Task

_GROUPS, _N = 16, 8
_NUM_TOKENS = 200
_WORDS = ("the", "red", "box", "stands", "left", "of", "a", "tall", "blue", "lamp", "while", "its", "shadow", "falls")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--limit-s", type=float, default=60.0, help="wall time that each command may take")
    chosen = parser.parse_args(arguments)
    num_samples = chosen.samples
    slow = []
    with tempfile.TemporaryDirectory(prefix="rescore-speed-") as folder:
        run = Path(folder) / "run"
        recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml", [f"run_dir={run}"])
        start = time.monotonic()
        write_run(run, recipe, num_samples)
        size = sum(file.stat().st_size for file in (run / "ledger").iterdir())
        print(f"ledger of {num_samples:,} samples, {size / 2**20:.0f} MiB, made in {time.monotonic() - start:.1f} s")
        for overrides in ([], ["reward=paper"]):
            before = _cpu_seconds()
            seconds = _timed([str(Path(sys.executable).with_name("interleave")), "rescore", str(run), *overrides])
            # The children's peak is that of the largest so far: the first command's and then the larger one's.
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
            shown = " ".join(["rescore", *overrides])
            cpu = _cpu_seconds() - before
            print(f"{shown}: {seconds:.1f} s ({cpu:.1f} s of CPU), peak {peak:.0f} MiB")
            if seconds > chosen.limit_s:
                slow.append(f"{shown} took {seconds:.1f} s: longer than the limit of {chosen.limit_s:g} s")
    print("\n".join(slow) or f"each within {chosen.limit_s:g} s")
    return 1 if slow else 0


def _cpu_seconds() -> float:
    """Return what the commands so far used: what remains of a figure where the machine is busy otherwise."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _timed(command: list[str]) -> float:
    start = time.monotonic()
    subprocess.run(command, cwd=REPO, check=True)
    return time.monotonic() - start


def write_run(run: Path, recipe: Recipe, num_samples: int) -> None:
    """Write a run folder whose ledger holds at least so many samples of training."""
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    log = AppendLog(run / "ledger", "samples")
    reward = WeightedSum(tuple(recipe.reward.terms))
    for step in range(1, 1 + -(-num_samples // (_GROUPS * _N))):
        log.append(_rows(step, reward))
    log.close()


def _rows(step: int, reward: WeightedSum) -> Iterator[Row]:
    rng = random.Random(step)
    for group in range(_GROUPS):
        task = _task(rng, f"task-{step:06d}-{group:02d}")
        for index in range(_N):
            place = {"attempt": 0, "phase": "train", "step": step, "edit_seed": 7}
            yield place | row_of(task, _sample(rng, task, index, reward))


def _task(rng: random.Random, name: str) -> Task:
    scores = Scores(rng.uniform(0, 5), rng.uniform(4, 9), _text(rng, 12))
    return Task(name, _text(rng, 12), _text(rng, 20), "before.png", "after.png", rng.random() < 0.3, scores)


def _sample(rng: random.Random, task: Task, index: int, reward: WeightedSum) -> Sample:
    critique = Critique(rng.random() < 0.5, _text(rng, 30), _text(rng, 120)) if rng.random() > 0.05 else None
    text = format_critique(critique) if critique else _text(rng, 150)
    response = Response((), (0,) * rng.randint(_NUM_TOKENS // 2, _NUM_TOKENS * 3 // 2), text, (), _version(task))
    image = scores = None
    if critique is not None and not task.is_success:
        image = f"sha256:{rng.getrandbits(256):064x}"
        scores = Scores(rng.uniform(0, 10), rng.uniform(4, 9), _text(rng, 30), rng.random())
    evidence = Evidence(task, response, critique, None if critique else "no_answer", image, scores)
    seconds = {"sample": 2.0, "generate": 1.5, "judge": 0.8, "reward": 2e-5}
    if rng.random() < 0.02:
        return Sample(task.id, index, 1, None, None, Failure(Stage.SAMPLE, "TimeoutError: 120 s"), seconds)
    return Sample(task.id, index, 1, evidence, reward(evidence), None, seconds)


def _version(task: Task) -> int:
    """Return the policy's version of a task's step: that of the step before."""
    return int(task.id.split("-")[1]) - 1


def _text(rng: random.Random, num_words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=num_words))


if __name__ == "__main__":
    run_main(main)
