"""Group compatible requests of a queue: the oldest first, and with it those of its kind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class _Pending:
    kind: Hashable
    item: object
    max_batch_size: int
    future: asyncio.Future[Batched]
    since: float


@dataclass(frozen=True, slots=True)
class Batched:
    """One item's result, and what its batch was like."""

    result: Any
    queue_s: float
    run_s: float
    """Wall time of the whole batch."""
    batch_size: int


class Batcher:
    """Runs `run(items)` in one thread, on items of one kind at a time.

    Serve's own batching takes whatever comes next; a mixed batch would have to be cut up again.
    """

    def __init__(self, run: Callable[[Sequence[Any]], Sequence[object]], *, max_batch_size: int, wait_s: float):
        self._run = run
        self._max_batch_size = max_batch_size
        self._wait_s = wait_s
        self._pending: list[_Pending] = []
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._loop: asyncio.Task[None] | None = None

    async def submit(self, kind: Hashable, item: object, max_batch_size: int | None = None) -> Batched:
        """Return the result of `item`, or raise what `run` put in its place; its kind may have a smaller batch."""
        size = self._max_batch_size if max_batch_size is None else min(max_batch_size, self._max_batch_size)
        pending = _Pending(kind, item, size, asyncio.get_running_loop().create_future(), time.monotonic())
        self._pending.append(pending)
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._drain())
        try:
            return await pending.future
        finally:
            if pending in self._pending:
                self._pending.remove(pending)

    async def _drain(self) -> None:
        while self._pending:
            if self._wait_s and len(self._like_oldest()) < self._pending[0].max_batch_size:
                await asyncio.sleep(self._wait_s)
            batch = self._like_oldest()
            if not batch:
                continue
            for pending in batch:
                self._pending.remove(pending)
            await self._run_batch(batch)

    def _like_oldest(self) -> list[_Pending]:
        if not self._pending:
            return []
        oldest = self._pending[0]
        return [pending for pending in self._pending if pending.kind == oldest.kind][: oldest.max_batch_size]

    async def _run_batch(self, batch: list[_Pending]) -> None:
        started = time.monotonic()
        items = [pending.item for pending in batch]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, items)
        except Exception as error:
            results = [error] * len(batch)
        run_s = time.monotonic() - started
        for pending, result in zip(batch, results, strict=True):
            if pending.future.done():
                continue
            if isinstance(result, Exception):
                pending.future.set_exception(result)
            else:
                pending.future.set_result(Batched(result, started - pending.since, run_s, len(batch)))
