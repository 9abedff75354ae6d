"""Scenes of `benchmarks.chaos` around a store: its writers are killed, and the server that lends to another node."""

import asyncio
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

from actors.store.server import start_server
from actors.store.store import Store, call_key
from benchmarks.chaos.scene import GOES_ON_S, Found, check_store, kill_again_and_again, noise, until_killed

NUM_PROCESSES = 3
NUM_READERS = 4


def kill_image_writers(folder: Path, kills: int, dice: random.Random) -> Found:
    """Kill processes that write images."""
    found = Found("images", kills)
    store = Store(folder / "store")
    for _, _, ref in _kill_writers(_write_images, folder, found, dice):
        found.expect(store.has_image(ref), f"image {ref} is lost")
    check_store(store.root, found)
    return found


def kill_answer_writers(folder: Path, kills: int, dice: random.Random) -> Found:
    """Kill processes that write answers to calls."""
    found = Found("answers", kills)
    store = Store(folder / "store")
    for number, count, key in _kill_writers(_write_answers, folder, found, dice):
        call = store.get_call(key)
        found.expect(call is not None and call["n"] == [int(number), int(count)], f"answer {number} {count} is lost")
    check_store(store.root, found)
    return found


async def kill_store_server(folder: Path, kills: int, dice: random.Random) -> Found:
    """Kill the server of one node's store while the other node's reader asks it for every image."""
    there, here, found = Store(folder / "there"), Store(folder / "here"), Found("nodes", kills)
    server = start_server(here.root, "there", served=there.root)

    def pid() -> int:
        return ray.get(server.__ray_call__.remote(lambda self: os.getpid()), timeout=GOES_ON_S)

    async def hand_over(number: int) -> None:
        ref = await asyncio.to_thread(there.put_image, noise(number))
        image = await asyncio.to_thread(here.get_image, ref)
        found.expect(image.tobytes() == noise(number).tobytes(), f"image {number} came as another")
        found.expect(here.image_path(ref).exists(), f"image {number} did not stay")
        found.counts["acknowledged"] += 1

    await until_killed(hand_over, kill_again_and_again(pid, found, dice), NUM_READERS)
    try:
        await asyncio.to_thread(here.get_image, "sha256:" + "0" * 64)
        found.losses.append("nodes: an image that is nowhere was found")
    except FileNotFoundError as error:
        found.expect("none of 1 peers has it" in str(error), f"a missing image is not explained: {error}")
    ray.kill(server)
    for store in (there, here):
        check_store(store.root, found)
    found.expect(found.counts["images"] == 2 * found.counts["acknowledged"], "not every image is on both nodes")
    return found


def _write_images(root: Path, acknowledged: Path, number: int) -> None:
    store = Store(root)
    with acknowledged.open("ab", buffering=0) as notes:
        for count in range(sys.maxsize):
            notes.write(f"{number} {count} {store.put_image(noise(number, count))}\n".encode())


def _write_answers(root: Path, acknowledged: Path, number: int) -> None:
    store = Store(root)
    with acknowledged.open("ab", buffering=0) as notes:
        for count in range(sys.maxsize):
            key = call_key(n=[number, count])
            store.put_call(key, {"n": [number, count], "filler": "x" * 5000})
            notes.write(f"{number} {count} {key}\n".encode())


def _kill_writers(
    write: Callable[[Path, Path, int], None], folder: Path, found: Found, dice: random.Random
) -> list[list[str]]:
    """Kill one of the processes that write, again and again, others take their place; return what they noted."""
    folder.mkdir()
    context = multiprocessing.get_context("fork")
    numbers = iter(range(sys.maxsize))

    def start() -> Any:
        arguments = folder / "store", folder / "acknowledged", next(numbers)
        process = context.Process(target=write, args=arguments, daemon=True)
        process.start()
        return process

    writers = [start() for _ in range(NUM_PROCESSES)]
    for _ in range(found.num_wanted):
        time.sleep(dice.uniform(0.02, 0.3))
        victim = writers.pop(dice.randrange(NUM_PROCESSES))
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        found.counts["kills"] += 1
        writers.append(start())
    for writer in writers:
        writer.kill()
        writer.join()
    notes = [line.split() for line in (folder / "acknowledged").read_text().splitlines()]
    found.counts["acknowledged"] = len(notes)
    return notes
