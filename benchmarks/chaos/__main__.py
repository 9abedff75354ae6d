"""SIGKILL every writer and owner under heavy writing: `python -m benchmarks.chaos [--kills 50] [--seed 0]`.

Six scenes, each with so many kills, at random instants:

    images    processes that write images into one store
    answers   processes that write answers to calls into one store
    ledger    the writer of the ledger, while groups are committed through it
    owner     the owner of paid calls, while many ask for the same answers
    nodes     the server of a store, while a reader on another root fetches what a writer commits on this one
    training  rollout worker, ledger writer and owner in turn, while `train()` goes on from step to step

What was acknowledged must be read back, once and as it was; every file of a store must be what its name says;
and everybody goes on. Prints what was killed, written and found, and ends with exit code 1 on any loss, or when
a scene had fewer kills than asked for.
"""

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from actors.cluster import ray_cluster
from benchmarks.chaos.scene import Found
from benchmarks.chaos.stores import kill_answer_writers, kill_image_writers, kill_store_server
from benchmarks.chaos.training import kill_in_training
from benchmarks.chaos.writers import kill_ledger_writer, kill_owner
from benchmarks.ending import run_main


async def kill_actors(folder: Path, kills: int, dice: random.Random) -> list[Found]:
    """Do the scenes with actors in a Ray of their own: first those of one writer each, all at once, then training."""
    async with ray_cluster("", 4):
        alone = await asyncio.gather(
            kill_ledger_writer(folder / "ledger", kills, dice),
            kill_owner(folder / "owner", kills, dice),
            kill_store_server(folder / "nodes", kills, dice),
        )
        return [*map(told, alone), told(await kill_in_training(folder / "training", kills, dice))]


def run(folder: Path, kills: int, seed: int) -> list[Found]:
    """Do all scenes, with so many kills each."""
    dice = random.Random(seed)
    return [
        told(kill_image_writers(folder / "images", kills, dice)),
        told(kill_answer_writers(folder / "answers", kills, dice)),
        *asyncio.run(kill_actors(folder, kills, dice)),
    ]


def told(found: Found) -> Found:
    """Print what a scene came to; too few kills, or nothing written, is a loss, too."""
    found.expect(found.counts["kills"] == found.num_wanted, f"{found.counts['kills']} kills of {found.num_wanted}")
    found.expect(found.counts["acknowledged"] > 0, "nothing was written")
    print(f"{found.scene:<8}", "  ".join(f"{name} {count:,}" for name, count in found.counts.items()), flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of each scene; default: 50")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="interleave-chaos-") as folder:
        scenes = run(Path(folder), chosen.kills, chosen.seed)
    losses = [loss for found in scenes for loss in found.losses]
    num_kills = sum(found.counts["kills"] for found in scenes)
    print(f"{num_kills} kills in {time.monotonic() - began:.0f} s, {len(losses)} losses", *losses[:20], sep="\n  ")
    return 1 if losses else 0


if __name__ == "__main__":
    run_main(main)
