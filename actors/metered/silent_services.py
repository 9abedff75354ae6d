"""A line when a service that is asked says nothing: its calls are retried and given up one by one, but later."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from ray.exceptions import RayError

from actors.notice import notify
from rollout.concurrency import all_of

SILENT_S = 25.0
"""How long a service may say nothing, unless it has been slow before and did answer."""
_SLOWER = 2.0
EVERY_S = 3.0
_ANSWERS_S = 5.0


class Silence:
    """How long the calls of a service have been waiting for an answer, to any of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._num_open, self._heard, self._longest_s = 0, 0.0, 0.0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Count a call while it is open; what it raises is no answer."""
        if not self._num_open:
            self._heard = self._clock()
        self._num_open += 1
        try:
            yield
            self._longest_s = max(self._longest_s, self._clock() - self._heard)
            self._heard = self._clock()
        finally:
            self._num_open -= 1

    def told(self, service: str) -> str:
        """Return a line if nothing has been answered for too long; else ''."""
        silent_s = self._clock() - self._heard
        if not self._num_open or silent_s < max(SILENT_S, _SLOWER * self._longest_s):
            return ""
        return (
            f"{service} has answered none of {self._num_open} calls for {silent_s:.0f} s: each is tried again, and "
            "given up after its timeout_s, as a failed sample"
        )


async def _silences(asker: Any) -> list[str]:
    """Return what an actor says; nothing for one that is gone, or not up: that is told by others."""
    lines: list[str] = []
    with suppress(RayError, TimeoutError):
        async with asyncio.timeout(_ANSWERS_S):
            lines = await asker.silences.remote()
    return lines


@asynccontextmanager
async def silence_told(
    askers: Callable[[], Mapping[str, Any]], tell: Callable[[str], None] | None = None, every_s: float = EVERY_S
) -> AsyncIterator[None]:
    """Ask the actors that make paid calls again and again whether services answer; tell once of each silence.

    Those are the owners, and, for services without one, rollout workers.
    """

    async def watch() -> None:
        silent: set[str] = set()
        while True:
            await asyncio.sleep(every_s)
            lines = {
                line.partition(" ")[0]: line
                for told in await all_of(map(_silences, askers().values()))
                for line in told
            }
            for service in lines.keys() - silent:
                (tell or notify)(lines[service])
            silent = set(lines)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
