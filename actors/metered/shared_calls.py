"""One owner of a run's calls to a paid service, for all processes: one cache, one bill, one budget.

Equal requests of all rollout workers share one call here; limits, hedges and budget hold for the whole
run, not for each process. One owner serves all keys of a service: a run makes tens of calls a second at
most, and an owner passes on hundreds (a hop takes about a millisecond). Split by key if that is not enough.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakSet

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.calls import ask, retry_until_alive
from actors.losses.stacks import answer_with_stacks
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, Fault
from actors.metered.silent_services import Silence

MAX_CALLERS = 4096
"""Requests that wait in an owner at a time; further ones wait in Ray."""

CLOSING_S = 60.0
"""How long requests under way at the end of a run may take: their answers are paid for anyway."""

_running: list[tuple[str, Any]] = []
"""Owners started by this process, each with its node id, which tells those of a former cluster apart."""

Make = Callable[[bool], MeteredCalls]
"""Makes the calls; the argument says whether they are the whole run's and continue its bill."""


def shutdown(timeout_s: float = CLOSING_S) -> None:
    """Wait until the owners that this process started have saved what is under way. Blocks; needs a running Ray."""
    here = ray.get_runtime_context().get_node_id()
    closing = [actor.close.remote() for node, actor in _running if node == here]
    _running.clear()
    if closing:
        ray.wait(closing, num_returns=len(closing), timeout=timeout_s)


def owners() -> dict[str, Any]:
    """Return the owners that this process started, by names for messages."""
    return {f"owner {number} of paid calls": actor for number, (_, actor) in enumerate(_running)}


def silences() -> list[str]:
    """Return a line for each service that is silent to this process."""
    return [line for calls in _here if (line := calls.silence())]


class _TimedCalls:
    """The calls of this process, which know how long they have been waiting."""

    def __init__(self, calls: MeteredCalls):
        self.calls = calls
        self._silence = Silence()
        _here.add(self)

    async def get(self, request: Mapping[str, object], payload: object) -> object:
        with self._silence.asking():
            return await self.calls.get(request, payload)

    def silence(self) -> str:
        """Return a line if the service is silent; its name is what its counts begin with."""
        return self._silence.told(next(iter(self.calls.stats()), "").rpartition("/")[0])


_here: WeakSet[_TimedCalls] = WeakSet()


class _SharedCallsActor:
    def __init__(self, make: Make):
        answer_with_stacks()
        self._timed = _TimedCalls(make(True))

    async def get(self, request: Mapping[str, object], payload: object) -> object:
        return await self._timed.get(request, payload)

    async def silences(self) -> list[str]:
        return silences()

    async def stats(self) -> dict[str, float]:
        return self._timed.calls.stats()

    async def close(self) -> None:
        await self._timed.calls.close()


class SharedCalls:
    """A handle on the owner. Picklable.

    Without an actor, `MeteredCalls` is made lazily in each process: only the cache on disk is shared; limits,
    budget and bill hold for each process separately. For tools, tests and services that cost nothing.
    """

    def __init__(self, make: Make, actor: Any = None):
        self._make = make
        self._actor = actor
        self._local: _TimedCalls | None = None

    @classmethod
    async def start(cls, make: Make, *, is_local: bool = False) -> SharedCalls:
        """Start the actor on the driver's node and return once it has read its bill. Ray must be initialized."""
        if is_local:
            return cls(make)
        if not ray.is_initialized():
            raise ValueError("Ray is not running: call ray.init() first, or set num_replicas=0 to do without it")
        # No logical CPU: it waits nearly all of the time, and has to fit on a full node too.
        node = ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"num_cpus": 0, "max_restarts": -1, "max_concurrency": MAX_CALLERS, "scheduling_strategy": here}
        actor = ray.remote(_SharedCallsActor).options(**options).remote(make)
        await ask(actor.stats)
        _running.append((node, actor))
        return cls(make, actor)

    async def get(self, request: Mapping[str, object], payload: object) -> Any:
        """Return the answer to a request (`MeteredCalls.get`). Raises `CallError` and `BudgetSpent`.

        If the owner dies, Ray restarts it and it is asked again; earlier answers are in the cache.
        """
        if self._actor is None:
            try:
                local = self._timed_here()
            except Exception as error:  # e.g. because of this process's environment, not of the call
                detail = " ".join(str(error).split())[:500]
                raise CallError(Fault("not_made", f"{type(error).__name__}: {detail}", is_retryable=False)) from error
            return await local.get(request, payload)
        actor = self._actor
        return await self._retry_until_alive(lambda: ask(actor.get, dict(request), payload))

    async def stats(self) -> dict[str, float]:
        """Return the owner's stats, the same in every process; without an actor, those of this process."""
        if self._actor is None:
            return {} if self._local is None else self._local.calls.stats()
        actor = self._actor
        counts: dict[str, float] = await self._retry_until_alive(lambda: ask(actor.stats))
        return counts

    async def _retry_until_alive(self, asking: Callable[[], Awaitable[object]]) -> Any:
        try:
            return await retry_until_alive(asking)
        except RayActorError as error:
            raise CallError(Fault("owner_lost", " ".join(str(error).split())[-300:])) from error

    def _timed_here(self) -> _TimedCalls:
        if self._local is None:
            self._local = _TimedCalls(self._make(False))
        return self._local

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_local": None}
