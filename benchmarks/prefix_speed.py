"""How much faster an update is that computes a group's prompt once: `python -m benchmarks.prefix_speed [--repeats 5]`.

One rank on one CPU thread does the same update three ways, in turns: rows padded, rows packed, and the prompt of each
group of 8 once; the prompt is five times as long as a response. Rows have no images, so that the vision tower has as
little to do in each. Prints medians and ends with exit code 1 where sharing is not at least twice as fast as the better
of the others.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from actors.config import LossConfig, PolicyConfig
from benchmarks.ending import run_main
from rollout.types import TrainingRow
from tests.support.policy_ranks import on_ranks, share_of

GROUP, PROMPT, RESPONSE = 8, 640, 128
BAR = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prefix_speed", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--groups", type=int, default=4)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="prefix-speed-") as folder:
        shared = PolicyConfig(model=str(write_critic(Path(folder) / "critic")), num_ranks=1)
        ways = {
            "padded": replace(shared, shared_prefix=False, is_packed=False),
            "packed": replace(shared, shared_prefix=False),
            "shared prefix": shared,
        }
        found = on_ranks(time_updates, 1, list(ways.values()), rows_of(chosen.groups), chosen.repeats, folder)
    seconds = dict(zip(ways, map(median, found), strict=True))
    for name, times in zip(ways, found, strict=True):
        print(f"{name:14} median {median(times):6.2f} s an update   ({', '.join(f'{one:.2f}' for one in times)})")
    ratio = min(seconds["padded"], seconds["packed"]) / seconds["shared prefix"]
    print(f"shared prefix is {ratio:.2f} times as fast as the better of the others; bar: at least {BAR:g}")
    return int(ratio < BAR)


def write_critic(folder: Path) -> Path:
    """Write the shapes world's critic, untrained."""
    from recipes.shapes.critic import new_model, new_processor

    processor = new_processor()
    new_model(processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def rows_of(num_groups: int) -> list[TrainingRow]:
    """Return groups without images."""
    rows = []
    for group in range(num_groups):
        dice = np.random.RandomState(group)
        prompt = tuple(dice.randint(20, 200, size=PROMPT).tolist())
        for _ in range(GROUP):
            response = tuple(dice.randint(20, 200, size=RESPONSE).tolist())
            rows.append(TrainingRow((), prompt, response, (float(dice.randn()),) * RESPONSE, (-6.0,) * RESPONSE))
    return rows


def time_updates(
    rank: int, configs: list[PolicyConfig], rows: list[TrainingRow], repeats: int, folder: str
) -> list[list[float]]:
    """Return the seconds of each update of each policy, one after the other in turns; the first round warms up."""
    from actors.policy.setup import PolicySetup
    from actors.policy.worker import PolicyWorker

    loss = LossConfig()
    workers = [PolicyWorker(PolicySetup(config, loss, folder, 100)) for config in configs]
    found: list[list[float]] = [[] for _ in workers]
    for turn in range(repeats + 1):
        for config, worker, times in zip(configs, workers, found, strict=True):
            start = time.monotonic()
            worker.update(share_of(rank, config, loss, rows), 1.0)
            if turn:
                times.append(time.monotonic() - start)
    return found


if __name__ == "__main__":
    run_main(main)
