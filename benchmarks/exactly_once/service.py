"""Generator and judge in a process of their own, which notes every call in a file that the run knows nothing of.

A request is a line of JSON on a Unix socket, its answer another. A note is on disk before the work begins.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from actors.metered.retry import CallError, Fault
from actors.store.store import Store
from tests.support.fakes import PHRASINGS

MOST_SECONDS = 0.02
"""Of a call."""
_LONELY_S = 600.0
"""A service that nobody asks for so long ends: whoever started it was killed."""
_GAIN = 2.0


def key_of(request: Mapping[str, Any]) -> str:
    """Return what two equal requests have in common."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:24]


def key_of_stored(request: Mapping[str, Any]) -> str:
    """Return the key of the call that a store holds the answer to."""
    if request["service"] == "generator":
        return key_of({"who": "generator", "prompt": request["prompt"], "seed": request["seed"]})
    return key_of({"who": "judge", "image": "sha256:" + request["images"][1]})


def serve(socket: str, store: str, notes: str) -> None:
    """Answer until killed."""
    asyncio.run(_Service(Path(store), Path(notes)).serve(socket))


async def ask(socket: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a request. Raises `CallError`, to be tried again, where nobody answers."""
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
        with contextlib.closing(writer):
            writer.write(json.dumps(request).encode() + b"\n")
            line = await reader.readline()
        answer: dict[str, Any] = json.loads(line)
        return answer
    except (OSError, ValueError) as error:
        raise CallError(Fault("connection", f"the service is gone: {error}", is_counted=False)) from error


class _Service:
    def __init__(self, store: Path, notes: Path):
        self._store = Store(store)
        self._notes = notes.open("ab", buffering=0)
        self._num_busy = 0
        self._asked_at = 0.0

    async def serve(self, socket: str) -> None:
        Path(socket).unlink(missing_ok=True)
        clock = asyncio.get_running_loop().time
        self._asked_at = clock()
        async with await asyncio.start_unix_server(self._answer, socket, backlog=1000):
            while clock() - self._asked_at < _LONELY_S:
                await asyncio.sleep(1.0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._asked_at = asyncio.get_running_loop().time()
        with contextlib.suppress(OSError, ValueError), contextlib.closing(writer):
            request = json.loads(await reader.readline())
            if request["who"] == "harness":  # wants to know when all that dead runs have asked for is done
                while self._num_busy:
                    await asyncio.sleep(0.01)
                answer: dict[str, Any] = {}
            else:
                answer = await self._work(request)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()

    async def _work(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._num_busy += 1
        try:
            key = key_of(request)
            self._notes.write(f"{key}\n".encode())
            os.fsync(self._notes.fileno())
            await asyncio.sleep(random.Random(key).uniform(0.1, 1.0) * MOST_SECONDS)
            make = self._edit if request["who"] == "generator" else self._judge
            return await asyncio.to_thread(make, request)
        finally:
            self._num_busy -= 1

    def _edit(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return an image whose pixels say how well the prompt was chosen, and by which seed."""
        phrasing, _, noise = request["prompt"].rpartition(" ")
        luck = random.Random(f"{noise} {request['seed']}").randbytes(2)
        image = Image.new("RGB", (16, 16), (PHRASINGS.index(phrasing), *luck))
        return {"image": self._store.put_image(image)}

    def _judge(self, request: Mapping[str, Any]) -> dict[str, Any]:
        pixel = self._store.get_image(request["image"]).getpixel((0, 0))
        assert isinstance(pixel, tuple)
        choice, *luck = pixel
        semantics, quality = (_GAIN * choice + 3.0 * number / 255 for number in luck)
        return {"semantics": semantics, "quality": quality, "reason": "as its pixels say"}
