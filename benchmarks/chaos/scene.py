"""What the scenes of `benchmarks.chaos` have in common: who is killed and when, and what is found afterwards."""

import asyncio
import hashlib
import json
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import RetryPolicy
from actors.metered.service import Pooled
from actors.metered.usage_ledger import UsageLedger
from actors.store.append_log import log_paths
from actors.store.eviction import clean
from actors.store.files import writer_of
from actors.store.store import Store

GOES_ON_S = 240.0
"""Whoever was killed is back at work within so long, on a machine that has much else to do."""


@dataclass
class Found:
    """What a scene came to."""

    scene: str
    num_wanted: int = 0
    """Kills that the scene is to have."""
    counts: Counter[str] = field(default_factory=lambda: Counter(kills=0, acknowledged=0))
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
    num_left_over = 0
    for path in root.rglob("*/*/*"):
        if writer_of(path.name):
            num_left_over += 1
        elif path.suffix == ".png":
            found.counts["images"] += 1
            is_whole = hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
            found.expect(is_whole and Image.open(path).load() is not None, f"{path} is torn")
        else:
            found.counts["answers"] += 1
            json.loads(path.read_text())
    found.counts["left over"] += num_left_over
    found.expect(clean(root, min_age_s=0.0) == num_left_over, "what dead writers left was not cleaned")


def paid_calls(folder: Path, pay: Callable[..., Awaitable[Any]], num_places: int, is_continued: bool) -> MeteredCalls:
    """Return calls that note each payment in `folder`, beside their store and their bill."""
    return MeteredCalls(
        Store(folder / "store"),
        RetryPolicy(60.0, 3),
        Pooled(partial(pay, folder / "payments"), num_places),
        UsageLedger("paid", folder / "ledger", is_continued=is_continued),
    )


def newest_writer(folder: Path, kind: str) -> int | None:
    """Return the process that opened a ledger's newest log: its name tells."""
    paths = log_paths(folder, kind)
    return int(paths[-1].stem.split("-")[-2]) if paths else None


def is_actor(pid: int) -> bool:
    """Whether a process lives and is one of Ray's: its number may be another's by now."""
    try:
        return psutil.Process(pid).cmdline()[0].startswith("ray::")
    except (psutil.Error, IndexError):
        return False


def kill(pid: int) -> None:
    """Kill an actor."""
    assert is_actor(pid), f"{pid} is no actor"
    os.kill(pid, signal.SIGKILL)


async def kill_again_and_again(pid: Callable[[], int | None], found: Found, dice: random.Random) -> None:
    """Kill whoever `pid` names, each time it is a new one: by turns as it starts, and amid what it does."""
    last = None
    for number in range(found.num_wanted):
        async with asyncio.timeout(GOES_ON_S):
            while (victim := await asyncio.to_thread(pid)) in (last, None):
                await asyncio.sleep(0.02)
            acknowledged = found.counts["acknowledged"]
            while number % 2 and found.counts["acknowledged"] == acknowledged:
                await asyncio.sleep(0.02)
        await asyncio.sleep(dice.uniform(0.0, 1.0))
        assert victim is not None
        kill(victim)
        found.counts["kills"] += 1
        last = victim


async def until_killed(work: Callable[[int], Awaitable[None]], killing: Awaitable[None], num_workers: int) -> None:
    """Let workers do rounds of work as long as there are kills to come. Raises TimeoutError for one that hangs."""
    is_over = False

    async def go_on(number: int) -> None:
        while not is_over:
            async with asyncio.timeout(GOES_ON_S):
                await work(number)
            number += num_workers

    workers = asyncio.gather(*map(go_on, range(num_workers)))
    try:
        await killing
        await asyncio.sleep(0.5)  # the last one comes back to work, too
    finally:
        is_over = True
        await workers
