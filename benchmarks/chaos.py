"""SIGKILL every writer and owner under heavy writing: `python -m benchmarks.chaos [--kills 50] [--seed 0]`.

Four scenes, each with its share of the kills, at random instants:

    images   processes that write images and answers into one store
    ledger   the writer of the ledger, while groups are committed through it
    owner    the owner of paid calls, while many ask for the same answers
    nodes    the server of a store, while a reader on another root fetches what a writer commits on this one

What was acknowledged must be read back, once and as it was; every file of a store must be what its name says;
and everybody goes on. Prints what was killed, written and found, and ends with exit code 1 on any loss.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray
from PIL import Image

from actors.append_log import log_paths, read_log
from actors.bill import Books
from actors.cluster import ray_cluster
from actors.ledger import read_ledger
from actors.ledger_writer import start_ledger
from actors.owner import Owner
from actors.paid_call import PaidCalls
from actors.retry import RetryPolicy
from actors.service import Pooled
from actors.store import Store, call_key, writer_of
from actors.store_limit import clean
from actors.store_server import start_server
from rollout.types import Evidence, Group, GroupRequest, Response, Reward, Sample, Scores, Task

NUM_PROCESSES = 3
NUM_CALLERS = 48
NUM_PLACES = 16
GROUP = 8


@dataclass
class Found:
    """What a scene came to."""

    scene: str
    counts: Counter[str] = field(default_factory=Counter)
    """Kills, what was acknowledged, and what else is worth telling."""
    losses: list[str] = field(default_factory=list)

    def expect(self, is_right: bool, loss: str) -> None:
        if not is_right:
            self.losses.append(f"{self.scene}: {loss}")


def noise(*seed: int) -> Image.Image:
    """Return a picture of about 12 kB that depends on the seed alone."""
    return Image.frombytes("RGB", (64, 64), random.Random(repr(seed)).randbytes(3 * 64 * 64))


def check_store(root: Path, found: Found) -> None:
    """Look at every file of a store: images decode and are what their names say, answers are whole."""
    for path in root.rglob("*/*/*"):
        if writer_of(path.name):
            found.counts["left over"] += 1
        elif path.suffix == ".png":
            found.counts["images"] += 1
            is_whole = hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
            found.expect(is_whole and Image.open(path).load() is not None, f"{path} is torn")
        else:
            found.counts["answers"] += 1
            json.loads(path.read_text())
    found.counts["cleaned"] = clean(root, min_age_s=0.0)
    found.expect(found.counts["cleaned"] == found.counts["left over"], "what dead writers left was not cleaned")


# Processes that write into a store


def _write_for_ever(root: Path, acknowledged: Path, number: int) -> None:
    store = Store(root)
    with acknowledged.open("ab", buffering=0) as notes:
        for count in range(sys.maxsize):
            ref = store.put_image(noise(number, count))
            store.put_call(call_key(n=[number, count]), {"image": ref, "filler": "x" * 5000})
            notes.write(f"{number} {count} {ref}\n".encode())


def kill_image_writers(folder: Path, kills: int, dice: random.Random) -> Found:
    """Kill processes that write images and answers; others take their place."""
    root, notes, found = folder / "store", folder / "acknowledged", Found("images")
    folder.mkdir()
    numbers = iter(range(sys.maxsize))

    def start() -> Any:
        context = multiprocessing.get_context("fork")
        process = context.Process(target=_write_for_ever, args=(root, notes, next(numbers)), daemon=True)
        process.start()
        return process

    writers = [start() for _ in range(NUM_PROCESSES)]
    for _ in range(kills):
        time.sleep(dice.uniform(0.02, 0.3))
        victim = writers.pop(dice.randrange(NUM_PROCESSES))
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        found.counts["kills"] += 1
        writers.append(start())
    for writer in writers:
        writer.kill()
        writer.join()
    store = Store(root)
    for line in notes.read_text().splitlines():
        number, count, ref = line.split()
        call = store.get_call(call_key(n=[int(number), int(count)]))
        found.expect(call is not None and call["image"] == ref, f"the answer of {line} is lost")
        found.expect(store.has_image(ref), f"image {ref} is lost")
        found.counts["acknowledged"] += 1
    check_store(root, found)
    return found


# Actors


async def kill_again_and_again(pid: Callable[[], int | None], kills: int, dice: random.Random, found: Found) -> None:
    """Kill whoever `pid` names, each time it is a new one."""
    last = None
    for _ in range(kills):
        while (victim := await asyncio.to_thread(pid)) in (last, None):
            await asyncio.sleep(0.02)
        assert victim is not None
        await asyncio.sleep(dice.uniform(0.0, 1.0))
        os.kill(victim, signal.SIGKILL)
        found.counts["kills"] += 1
        last = victim


def newest_writer(folder: Path, kind: str) -> int | None:
    """Return the process that opened a ledger's newest log: its name tells."""
    paths = log_paths(folder, kind)
    return int(paths[-1].stem.split("-")[-2]) if paths else None


async def until_killed(
    work: Callable[[int], Awaitable[None]], killing: Awaitable[None], num_workers: int = NUM_CALLERS
) -> None:
    """Let workers do rounds of work as long as there are kills to come."""
    is_over = False

    async def go_on(number: int) -> None:
        count = number
        while not is_over:
            await work(count)
            count += num_workers

    workers = asyncio.gather(*map(go_on, range(num_workers)))
    try:
        await killing
        await asyncio.sleep(0.5)  # the last one comes back to work, too
    finally:
        is_over = True
        await workers


def make_group(number: int) -> tuple[GroupRequest, Group]:
    """Return a group whose rewards tell its number."""
    task = Task(f"task-{number % 7}", "a red box", "a red box", None, "sha256:00", False, Scores(2.0, 3.0))
    response = Response((1, 2), (3, 4), f"answer {number} " * 20, (-0.1, -0.2), 0)
    evidence = Evidence(task, response, None, "json")
    samples = (
        Sample(task.id, i, i, evidence, Reward({"step": 1 / (1 + i)}, number / 3 + i), None) for i in range(GROUP)
    )
    return GroupRequest(task, GROUP, 0, (5,), step=number), Group(task, tuple(samples))


async def kill_ledger_writer(folder: Path, kills: int, dice: random.Random) -> Found:
    """Kill the writer while groups are recorded; each acknowledged row is read back once, as it was."""
    found = Found("ledger")
    ledger = start_ledger(folder)
    ledger.begin(0)
    acknowledged = set()

    async def record(number: int) -> None:
        await ledger.record(*make_group(number))
        acknowledged.add(number)

    pid = partial(newest_writer, folder, "samples")
    await until_killed(record, kill_again_and_again(pid, kills, dice, found))
    ray.kill(ledger.appender.actor)
    rows = {(row["step"], row["index"]): row["reward"]["total"] for row in read_ledger(folder)}
    num_read = sum(1 for _ in read_ledger(folder))
    found.expect(num_read == len(rows), f"{num_read - len(rows)} rows are read twice")
    for number in acknowledged:
        for index in range(GROUP):
            found.expect(rows.get((number, index)) == number / 3 + index, f"row {index} of group {number} is lost")
    found.counts["acknowledged"] = len(acknowledged) * GROUP
    found.counts["sent again"] = sum(1 for _ in read_log(folder, "samples")) - num_read
    found.counts["logs"] = len(log_paths(folder, "samples"))
    return found


async def _pay(payments: Path, number: int) -> dict[str, Any]:
    await asyncio.sleep(0.01)
    with payments.open("ab", buffering=0) as file:
        file.write(b"%d\n" % number)
    return {"n": number, "filler": "x" * 2000}


def _make_calls(root: Path, is_continued: bool) -> PaidCalls:
    return PaidCalls(
        Store(root / "store"),
        RetryPolicy(60.0, 3),
        Pooled(partial(_pay, root / "payments"), NUM_PLACES),
        Books("judge", root / "ledger", is_continued=is_continued),
    )


async def kill_owner(folder: Path, kills: int, dice: random.Random) -> Found:
    """Kill the owner of paid calls; every answer that was given stays, and no kill costs more than its flights."""
    found = Found("owner")
    owner = await Owner.start(partial(_make_calls, folder))
    answered = set()

    async def ask(count: int) -> None:
        number = count // 4  # four ask for each answer
        answer = await owner.get({"n": number}, number)
        found.expect(answer["n"] == number, f"the answer to {number} is another's")
        answered.add(number)

    pid = partial(newest_writer, folder / "ledger", "calls")
    await until_killed(ask, kill_again_and_again(pid, kills, dice, found))
    stats = await owner.stats()
    store = Store(folder / "store")
    rows = Counter(row["key"] for row in read_log(folder / "ledger", "calls") if row["outcome"] == "answer")
    for number in answered:
        key = call_key(n=number)
        found.expect((store.get_call(key) or {}).get("answer", {}).get("n") == number, f"answer {number} is lost")
        found.expect(rows[key] > 0, f"the bill has no row of answer {number}")
    payments = Counter((folder / "payments").read_text().split())
    found.counts |= {"acknowledged": len(answered), "paid": payments.total(), "bill": sum(rows.values())}
    found.counts["paid again"] = payments.total() - len(payments)
    found.expect(found.counts["paid again"] <= kills * NUM_PLACES, "more was paid again than was under way")
    found.expect(stats["judge/answers"] == sum(rows.values()), "the owner's count is not that of its rows")
    check_store(folder / "store", found)
    return found


async def kill_store_server(folder: Path, kills: int, dice: random.Random) -> Found:
    """Kill the server of one node's store while the other node's reader asks it for every image."""
    there, here, found = Store(folder / "there"), Store(folder / "here"), Found("nodes")
    server = start_server(here.root, "there", served=there.root)

    def pid() -> int:
        return ray.get(server.__ray_call__.remote(lambda self: os.getpid()))

    async def hand_over(number: int) -> None:
        ref = await asyncio.to_thread(there.put_image, noise(number))
        image = await asyncio.to_thread(here.get_image, ref)
        found.expect(image.tobytes() == noise(number).tobytes(), f"image {number} came as another")
        found.counts["acknowledged"] += 1

    await until_killed(hand_over, kill_again_and_again(pid, kills, dice, found), num_workers=4)
    try:
        await asyncio.to_thread(here.get_image, "sha256:" + "0" * 64)
        found.losses.append("nodes: an image that is nowhere was found")
    except FileNotFoundError as error:
        found.expect("none of 1 peers has it" in str(error), f"a missing image is not explained: {error}")
    ray.kill(server)
    check_store(here.root, found)
    return found


async def kill_actors(folder: Path, kills: int, dice: random.Random) -> list[Found]:
    """Do the scenes with actors, all at once, in a Ray of their own."""
    share = kills // 3
    async with ray_cluster("", 4):
        return await asyncio.gather(
            kill_ledger_writer(folder / "ledger", kills - 2 * share, dice),
            kill_owner(folder / "owner", share, dice),
            kill_store_server(folder / "nodes", share, dice),
        )


def run(folder: Path, kills: int, seed: int) -> list[Found]:
    """Do all scenes: two fifths of the kills for the images, the rest for the actors."""
    dice = random.Random(seed)
    num_images = 2 * kills // 5
    images = kill_image_writers(folder / "images", num_images, dice)
    return [images, *asyncio.run(kill_actors(folder, kills - num_images, dice))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="interleave-chaos-") as folder:
        scenes = run(Path(folder), chosen.kills, chosen.seed)
    for found in scenes:
        print(f"{found.scene:<7}", "  ".join(f"{name} {count:,}" for name, count in found.counts.items()))
    losses = [loss for found in scenes for loss in found.losses]
    num_kills = sum(found.counts["kills"] for found in scenes)
    print(f"{num_kills} kills in {time.monotonic() - began:.0f} s, {len(losses)} losses", *losses[:20], sep="\n  ")
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
