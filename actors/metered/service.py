"""The services that are paid for answers: where a request may be sent now, and how it is sent."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from actors.metered.retry import Fault

Count = Callable[[str, float], None]
"""`count(name, amount)` adds an item to the bill."""


class Service(Protocol):
    """Takes requests at places: an endpoint, a pool. The `str` of a place is its name on the bill."""

    num_places: int
    """How many requests it takes at a time."""

    is_revocable: bool
    """A request without a waiter is cancelled even when it is under way: it costs nothing."""

    async def acquire(self) -> object:
        """Return a place for one request, as soon as there is one; first come, first served."""
        ...

    def try_acquire_other(self, first: Any) -> object | None:
        """Return a free place for a second request, elsewhere than `first` if possible; None: all are taken."""
        ...

    def release(self, place: Any) -> None:
        """Free a place."""
        ...

    async def send(self, payload: Any, place: Any, count: Count) -> object:
        """Send one request and return its JSON-able answer; `count` its cost in any case. Raises `CallError`."""
        ...

    def record_fault(self, place: Any, fault: Fault) -> Fault:
        """Record what went wrong at a place; return the fault to act on."""
        ...


class Pooled:
    """A pool of replicas as a service: it only limits how many requests may be under way."""

    def __init__(
        self,
        call: Callable[[Any], Awaitable[Any]],
        num_places: int,
        counted: Sequence[str] = (),
        *,
        is_revocable: bool = False,
    ):
        """`counted` names the numbers of an answer that go on the bill, if it has them."""
        self.num_places = num_places
        self.is_revocable = is_revocable
        self._call = call
        self._counted = counted
        self._free = asyncio.Semaphore(num_places)

    async def acquire(self) -> str:
        await self._free.acquire()
        return "pool"

    def try_acquire_other(self, first: str) -> None:
        return None

    def release(self, place: str) -> None:
        self._free.release()

    async def send(self, payload: object, place: str, count: Count) -> object:
        answer = await self._call(payload)
        for name in self._counted:
            count(name, answer.get(name, 0.0))
        return answer

    def record_fault(self, place: str, fault: Fault) -> Fault:
        return fault
