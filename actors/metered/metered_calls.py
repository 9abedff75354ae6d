"""Pay for an answer once: a cache on disk, one flight for equal requests, retries, hedging, and the bill."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from actors.metered.retry import CallError, Fault, RetryPolicy, fault_of, retry
from actors.metered.service import Service
from actors.metered.usage_ledger import ANSWER, Counts, UsageLedger
from actors.store.store import Store, call_key
from rollout.roles import BudgetSpent

FLUSH_S = 5.0
"""Counts of calls that cost nothing are written at least this often while there are any."""


@dataclass(slots=True)
class _Call:
    """One flight: a distinct request that waits for its answer."""

    key: str
    payload: object
    usage: Counts = field(default_factory=lambda: defaultdict(float))
    endpoint: str = ""
    """Where its last request went, or the one that was answered."""
    num_waiters: int = 0
    is_sent: bool = False
    """A request is under way and will be charged for: it runs to its end even without a waiter."""
    is_paying: bool = False
    """A request was sent, and its outcome is not on disk yet."""
    is_answered: bool = False
    """From here on it runs to its end even without a waiter: the answer has to reach the disk."""
    saved_usd: float = 0.0
    """What each further waiter saves."""


class MeteredCalls:
    """Calls to one paid service, from one event loop; `actors.metered.shared_calls` shares them between processes."""

    def __init__(
        self,
        store: Store,
        policy: RetryPolicy,
        service: Service,
        usage: UsageLedger,
        *,
        is_usable: Callable[[Any], bool] = lambda answer: True,
        hedge_after_s: float = 0.0,
    ):
        """`is_usable` may reject a cached answer whose image is gone; it is called in a thread."""
        self._store = store
        self._policy = policy
        self._service = service
        self._usage = usage
        self._is_usable = is_usable
        self._hedge_after_s = hedge_after_s
        self._flights: dict[str, tuple[_Call, asyncio.Task[object]]] = {}
        self._is_closing = False
        self._num_paying = 0
        self._quiet = asyncio.Event()
        self._request_ended = asyncio.Event()
        self._since, self._busy_s = time.monotonic(), 0.0

    async def get(self, request: Mapping[str, object], payload: object) -> Any:
        """Return the answer to `request`: from the cache, from an equal call in flight, or by paying for it.

        `request` names everything that the answer depends on; `payload` is sent to the service. Raises
        `CallError` and `BudgetSpent`. A cancelled waiter leaves the call to the others; the last one cancels it,
        unless a request is under way: that request runs to its end, its answer is cached and its cost billed,
        but it is neither hedged nor sent again. A revocable service's request is cancelled even then.
        """
        if self._is_closing:
            raise CallError(Fault("closing", "the run is ending: no further call is made", is_retryable=False))
        key = call_key(**request)
        counts = self._usage.counts
        counts["calls"] += 1
        is_shared = key in self._flights
        counts["shared"] += is_shared
        if not is_shared:
            call = _Call(key, payload)
            task = asyncio.create_task(self._run(call, request))
            self._flights[key] = call, task
            task.add_done_callback(lambda task: self._on_done(call, task))
        call, task = self._flights[key]
        call.num_waiters += 1
        try:
            answer = await asyncio.shield(task)
        finally:
            call.num_waiters -= 1
            if call.num_waiters == 0:
                self._drop_waiter(call, task, is_revoked=self._service.is_revocable)
        if is_shared:
            self._count_saved(call.saved_usd)
        return answer

    def stats(self) -> dict[str, float]:
        """Return the usage's stats; if these are the run's only calls, with the places and their busy share."""
        stats = self._usage.stats()
        if self._usage.is_continued:
            elapsed = max(time.monotonic() - self._since, 1e-9)
            places = self._service.num_places
            gauges = {"places": float(places), "busy_share": self._busy_s / elapsed / places}
            stats |= {f"{self._usage.service}/{name}": value for name, value in gauges.items()}
        return stats

    async def close(self) -> None:
        """Send nothing more; return once every request under way is over and all counts are on disk."""
        self._is_closing = True
        for call, task in list(self._flights.values()):
            self._drop_waiter(call, task)
        await self._settled()
        await self._usage.flush()

    def _drop_waiter(self, call: _Call, task: asyncio.Task[object], *, is_revoked: bool = False) -> None:
        """Give up a call that has no request under way, or whose request can be cancelled."""
        if not (task.done() or (call.is_sent and not is_revoked) or call.is_answered):
            self._forget(call)
            task.cancel()

    def _is_wanted(self, call: _Call) -> bool:
        return call.num_waiters > 0 and not self._is_closing

    def _count_saved(self, usd: float) -> None:
        self._usage.counts["saved_calls"] += 1
        self._usage.counts["saved_usd"] += usd

    def _forget(self, call: _Call) -> None:
        if call.key in self._flights and self._flights[call.key][0] is call:
            del self._flights[call.key]

    def _on_done(self, call: _Call, task: asyncio.Task[object]) -> None:
        self._forget(call)
        if not task.cancelled():
            task.exception()  # marks it as retrieved: there may be no waiter left

    async def _run(self, call: _Call, request: Mapping[str, object]) -> object:
        # The cache is read inside the flight: an equal call that ends meanwhile is either cached or shared.
        cached = await asyncio.to_thread(self._cached, call.key)
        if cached is not None:
            self._usage.counts["hits"] += 1
            call.saved_usd = cached.get("usd", 0.0)
            self._count_saved(call.saved_usd)
            await self._usage.flush(unless_within_s=FLUSH_S)
            return cached["answer"]
        try:
            answer = await retry(partial(self._attempt, call), self._policy, partial(self._place, call))
            call.is_answered = True
            self._usage.counts["answers"] += 1
            call.saved_usd = call.usage["usd"]
            try:
                await self._usage.close(call.key, call.endpoint, ANSWER, call.usage)
            finally:  # even if its row could not be written: the answer is paid for
                entry = {"request": dict(request), "answer": answer, "usd": call.saved_usd}
                await asyncio.to_thread(self._store.put_call, call.key, entry)
            return answer
        except CallError as error:
            self._usage.counts["failures"] += 1
            await self._usage.close(call.key, call.endpoint, error.fault.kind, call.usage)
            raise
        finally:
            self._mark_paying(call, False)

    def _cached(self, key: str) -> dict[str, Any] | None:
        cached = self._store.get_call(key)
        return cached if cached is not None and self._is_usable(cached["answer"]) else None

    @asynccontextmanager
    async def _place(self, call: _Call) -> AsyncIterator[object]:
        """Hold a place of the service, once the budget has room beside what is under way. Raises `BudgetSpent`."""
        began = time.monotonic()
        while True:
            place = await self._service.acquire()
            why_spent = self._usage.why_spent()
            try:
                if why_spent is None and self._usage.has_room():
                    self._count(call, "wait_seconds", time.monotonic() - began)
                    yield place
                    return
            finally:
                self._service.release(place)
            if why_spent is not None:
                await self._drain(call)
                raise BudgetSpent(why_spent)
            self._request_ended.clear()
            await self._request_ended.wait()

    async def _drain(self, call: _Call) -> None:
        """Wait until the answer to every paid call is on disk: then the run may end."""
        self._mark_paying(call, False)
        await self._settled()

    async def _settled(self) -> None:
        while self._num_paying:
            self._quiet.clear()
            await self._quiet.wait()

    async def _attempt(self, call: _Call, place: object, limit_s: float) -> object:
        """Return an answer. Raises `CallError`, which is not retryable if nobody waits any more."""
        self._mark_paying(call, True)
        call.is_sent = True  # until the answer is known: nothing may come between it and the disk
        try:
            return await self._race(call, place, limit_s)
        except CallError as error:
            call.is_sent = False
            if self._is_wanted(call):
                raise
            self._forget(call)  # later requests get a new call
            raise CallError(replace(error.fault, is_retryable=False)) from error

    async def _race(self, call: _Call, place: object, limit_s: float) -> object:
        """Return the first answer to a request or to its hedges, sent when it is late. Raises `CallError`."""
        ends_at = time.monotonic() + limit_s
        first = self._send(call, place, ends_at)
        running = {first}
        hedges_left = self._policy.num_attempts - 1 if self._hedge_after_s else 0
        try:
            while True:
                wait_s = self._hedge_after_s if hedges_left else None
                done, running = await asyncio.wait(running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                if answered := _answered(done):
                    self._count(call, "cancelled", len(answered) - 1)  # arrived at the same time: not used
                    return answered[0].result()
                for error in filter(None, (request.exception() for request in done)):
                    # Do not wait for a straggler once all its hedges have failed.
                    is_over = not running or (first in running and not hedges_left)
                    if is_over or not fault_of(error).is_retryable:
                        raise error
                if not done and len(running) == 1 and (hedge := self._hedge(call, place, ends_at)) is not None:
                    running.add(hedge)
                    hedges_left -= 1
        finally:
            self._count(call, "cancelled", len(_answered(running)))  # answered since, but not used
            for request in running:
                request.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _hedge(self, call: _Call, place: object, ends_at: float) -> asyncio.Task[object] | None:
        """Send one more request if there is room for it."""
        if not self._is_wanted(call) or self._usage.why_spent() is not None or not self._usage.has_room():
            return None
        if (spare := self._service.try_acquire_other(place)) is None:
            return None
        self._count(call, "hedges", 1)
        request = self._send(call, spare, ends_at)
        request.add_done_callback(lambda _: self._service.release(spare))
        return request

    def _send(self, call: _Call, place: object, ends_at: float) -> asyncio.Task[object]:
        # Counted before it starts, so that a budget of calls is never exceeded.
        self._count(call, "attempts", 1)
        self._usage.num_open += 1
        request = asyncio.create_task(self._request(call, place, ends_at - time.monotonic()))
        request.add_done_callback(partial(self._on_request_done, call))
        return request

    def _on_request_done(self, call: _Call, request: asyncio.Task[object]) -> None:
        self._count(call, "cancelled", request.cancelled())
        self._usage.num_open -= 1
        self._request_ended.set()

    async def _request(self, call: _Call, place: object, limit_s: float) -> object:
        began = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                answer = await self._service.send(call.payload, place, partial(self._count, call))
        except Exception as error:
            fault = self._service.record_fault(place, fault_of(error))
            self._count(call, f"faults/{fault.kind}", 1)
            call.endpoint = str(place)
            raise CallError(fault) from error
        finally:
            seconds = time.monotonic() - began
            self._busy_s += seconds
            self._count(call, "seconds", seconds)
        self._usage.latencies.append(seconds)
        call.endpoint = str(place)
        return answer

    def _count(self, call: _Call, name: str, amount: float) -> None:
        if not amount:
            return
        if name == "usd":
            self._usage.note_price(amount)
        call.usage[name] += amount
        self._usage.counts[name] += amount

    def _mark_paying(self, call: _Call, is_paying: bool) -> None:
        self._num_paying += is_paying - call.is_paying
        call.is_paying = is_paying
        if self._num_paying == 0:
            self._quiet.set()


def _answered(requests: set[asyncio.Task[object]]) -> list[asyncio.Task[object]]:
    return [request for request in requests if request.done() and request.exception() is None]
