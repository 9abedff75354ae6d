"""The desk of the service: how many requests are inside, how long they took, and what is made for each."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from actors.generator.generator import Generator
from actors.store.store import Store
from actors.web.bounds import Refused
from actors.web.config import ServiceConfig
from actors.web.wishes import Wish
from rollout.concurrency import all_of
from rollout.roles import BudgetSpent, GeneratorError, Unsupported
from rollout.types import EditRequest

NUM_LATENCIES = 1000
PLACEHOLDER = "an image"
"""Stands for an image in a request that is only looked at for what it asks."""


@dataclass(frozen=True)
class Made:
    """A wish come true."""

    id: str
    wish: Wish
    pngs: tuple[bytes, ...]
    """One for each seed."""
    seconds: float


class Desk:
    """Takes wishes to the generator, so many at a time."""

    def __init__(self, generator: Generator, config: ServiceConfig):
        self.generator = generator
        self.config = config
        self.counts: Counter[str] = Counter()
        self.num_pending = 0
        self._store = Store(generator.store_root)
        self._latencies: deque[float] = deque(maxlen=NUM_LATENCIES)
        self._answered_at: deque[float] = deque(maxlen=64)

    @contextmanager
    def place(self, count: int = 1) -> Iterator[None]:
        """Hold the places of `count` images. Raises `Refused` (429) when there are not so many."""
        if self.num_pending + count > self.config.max_pending:
            self.counts["full"] += 1
            raise Refused(
                429,
                f"{self.num_pending} images are asked for already; come back later",
                {"Retry-After": str(self.retry_after_s())},
            )
        self.num_pending += count
        try:
            yield
        finally:
            self.num_pending -= count

    def retry_after_s(self) -> int:
        """Return in how many seconds a place is likely to be free: about the time of a few answers."""
        if len(self._answered_at) < 2:
            return 1
        per_answer = (time.monotonic() - self._answered_at[0]) / len(self._answered_at)
        return min(60, max(1, math.ceil(4 * per_answer)))

    async def make(self, wish: Wish) -> Made:
        """Return what was wished for. Raises `Refused`; what it is not able to do costs nothing and leaves no trace."""
        began = time.monotonic()
        try:
            self._check(wish)
            with self.place(len(wish.seeds) - 1):
                async with asyncio.timeout(self.config.timeout_s):
                    pngs = await self._make(wish)
        except Unsupported as error:
            raise Refused(400, str(error).removeprefix("unsupported: ")) from error
        except BudgetSpent as error:
            raise Refused(503, str(error)) from error
        except GeneratorError as error:
            self.counts["failed"] += 1
            status = 504 if str(error).startswith("timeout") else 502
            raise Refused(status, f"the image was not made: {str(error)[:500]}") from error
        except TimeoutError:
            self.counts["late"] += 1
            raise Refused(504, f"the image was not made within {self.config.timeout_s:g} s") from None
        seconds = time.monotonic() - began
        self.counts["answered"] += 1
        self._latencies.append(seconds)
        self._answered_at.append(time.monotonic())
        return Made(uuid.uuid4().hex, wish, tuple(pngs), seconds)

    def _check(self, wish: Wish) -> None:
        self.generator.entry.check_images(image.size for image in wish.images)
        names = [PLACEHOLDER] * len(wish.images)
        self.generator.check(_request(wish, wish.seeds[0], names, PLACEHOLDER if wish.mask else None))

    async def _make(self, wish: Wish) -> list[bytes]:
        names = [await asyncio.to_thread(self._store.put_image, image) for image in wish.images]
        mask = None if wish.mask is None else await asyncio.to_thread(self._store.put_image, wish.mask)
        made = await all_of(self.generator.edit(_request(wish, seed, names, mask)) for seed in wish.seeds)
        return [await asyncio.to_thread(self._store.png_bytes, ref) for ref in made]

    async def status(self) -> dict[str, Any]:
        """Return what goes on: the public system's figures, and ours beside them."""
        num_replicas = await self.generator.num_running()
        stats = await self.generator.stats()
        entry, config = self.generator.entry, self.generator.config
        latency: dict[str, float] = {}
        if len(self._latencies) > 1:
            cuts = quantiles(self._latencies, n=100, method="inclusive")
            latency = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}
        return {
            "active_workers": num_replicas,
            "task_queue_size": self.num_pending,
            "result_queue_size": 0,
            "pending_tasks": self.num_pending,
            "total_gpus": int(config.gpus_per_replica * num_replicas),
            "system_ready": num_replicas > 0,
            "max_pending": self.config.max_pending,
            "latency_s": latency,
            "requests": dict(self.counts),
            "model": self.generator.model,
            "generator": {
                "name": entry.name,
                "settings": self.generator.settings_digest(),
                "modes": [mode.value for mode in entry.modes],
                "options": sorted(entry.options),
                "max_images": entry.max_images,
                "sizes": self._sizes(),
            },
            "stats": stats,
        }

    def _sizes(self) -> dict[str, Any]:
        sizes, config = dict(vars(self.generator.entry.sizes)), self.generator.config
        if config.height:
            sizes["choices"] = ((config.width, config.height),)
        return sizes


def _request(wish: Wish, seed: int, names: list[str], mask: str | None) -> EditRequest:
    return EditRequest(
        image=names[0] if names else None,
        prompt=wish.prompt,
        seed=seed,
        references=tuple(names[1:]),
        mask=mask,
        size=wish.size,
        options=wish.options,
    )
