"""Pay for an answer once: a cache on disk, one flight for equal requests, retries, and a count of it all."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from actors.retry import Fault, RetryPolicy, retry
from actors.store import Store, call_key


@dataclass(slots=True)
class _Flight:
    task: asyncio.Task
    num_waiters: int = 0


class PaidCalls:
    """Calls to one paid service from one process (and one event loop).

    Answers are JSON-able. `limit` bounds the calls in flight; waiting for a place does not count
    against the deadline. `is_usable` may reject a cached answer whose image is gone.
    """

    def __init__(
        self,
        store: Store,
        policy: RetryPolicy,
        *,
        limit: int,
        is_usable: Callable[[Any], bool] = lambda answer: True,
    ):
        self._store = store
        self._policy = policy
        self._places = asyncio.Semaphore(limit)
        self._is_usable = is_usable
        self._flights: dict[str, _Flight] = {}
        self.counts: defaultdict[str, float] = defaultdict(float)

    async def get(self, request: Mapping[str, Any], pay: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer to `request`: from the cache, from an equal call in flight, or by `pay()`.

        `request` names everything that the answer depends on. Raises `CallError`. A cancelled waiter
        leaves the call to the others; the last one takes it along.
        """
        key = call_key(**request)
        self.counts["calls"] += 1
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(self._fly(key, request, pay)))
            flight.task.add_done_callback(lambda task: self._forget(key, task))
        else:
            self.counts["shared"] += 1
        flight.num_waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.num_waiters -= 1
            if flight.num_waiters == 0 and not flight.task.done():
                self._forget(key, flight.task)
                flight.task.cancel()

    async def _fly(self, key: str, request: Mapping[str, Any], pay: Callable[[], Awaitable[Any]]) -> Any:
        # The cache is read inside the flight: a call that lands meanwhile is either cached or shared.
        cached = await asyncio.to_thread(self._store.get_call, key)
        if cached is not None and self._is_usable(cached["answer"]):
            self.counts["hits"] += 1
            return cached["answer"]
        began = time.monotonic()
        async with self._places:
            started = time.monotonic()
            self.counts["wait_seconds"] += started - began
            try:
                answer = await retry(lambda: self._attempt(pay), self._policy, self._count_fault)
            except Exception:
                self.counts["failures"] += 1
                raise
            finally:
                self.counts["seconds"] += time.monotonic() - started
        await asyncio.to_thread(self._store.put_call, key, {"request": dict(request), "answer": answer})
        return answer

    async def _attempt(self, pay: Callable[[], Awaitable[Any]]) -> Any:
        self.counts["attempts"] += 1
        return await pay()

    def _count_fault(self, fault: Fault) -> None:
        self.counts[f"faults/{fault.kind}"] += 1

    def _forget(self, key: str, task: asyncio.Task) -> None:
        if key in self._flights and self._flights[key].task is task:
            del self._flights[key]

    def stats(self, area: str) -> dict[str, float]:
        """Return counts since the start, keyed `area/name`; they add up over processes."""
        return {f"{area}/{name}": count for name, count in sorted(self.counts.items())}
