"""Several equal endpoints as one service: balanced by load, within each one's limits, with failover."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from actors.metered.config import EndpointConfig
from actors.metered.keys import Secret
from actors.metered.retry import Fault

TROUBLES = frozenset({"rate_limit", "server_error", "connection", "unreachable", "timeout"})
"""Temporary faults of an endpoint rather than of a request."""
REFUSALS = frozenset({"unauthorized", "forbidden", "not_found", "no_quota", "redirected"})
"""Faults of an endpoint that only its owner can fix: a key, an account, a model's name, an address."""
FIRST_COOLING_S, LAST_COOLING_S = 0.5, 30.0
"""How long an endpoint in trouble is left alone: first and last, doubled with each fault in a row.

One that asks for more counts as refusing: calls do not wait for it, or fail soon if there is no other.
"""
REFUSED_S = 60.0
"""How long an endpoint that refuses is left alone while there is another one."""
FIRST_GUESS = 2000.0
"""Expected tokens of a request before any was answered."""


def with_defaults(endpoints: Sequence[EndpointConfig], *, model: str, max_concurrency: int) -> list[EndpointConfig]:
    """Return the endpoints, each with model and concurrency filled in if it has none of its own."""
    return [
        replace(each, model=each.model or model, max_concurrency=each.max_concurrency or max_concurrency)
        for each in endpoints
    ]


class TokenBucket:
    """At most `per_minute` in any minute, and at most one second's share of it at once; 0: no limit.

    >>> bucket = TokenBucket(120, now=0.0)
    >>> bucket.acquire(2, now=0.0)
    >>> round(bucket.wait_s(1, now=0.0), 3)
    0.508
    """

    def __init__(self, per_minute: float, *, now: float):
        self._burst = max(1.0, per_minute / 60)
        # The steady rate is lowered by what a burst may add, so that no minute exceeds the limit.
        self._rate = max(per_minute - self._burst, per_minute / 2) / 60
        self._level, self._at = self._burst, now

    def wait_s(self, amount: float, *, now: float) -> float:
        """Return in how many seconds `amount` may be taken; an amount above the burst needs a full bucket."""
        if not self._rate:
            return 0.0
        missing = min(amount, self._burst) - self._filled(now)
        return max(0.0, missing / self._rate)

    def acquire(self, amount: float, *, now: float) -> None:
        """Take out `amount`, going into debt if need be; a negative amount is put back."""
        self._level, self._at = min(self._burst, self._filled(now) - amount), now

    def _filled(self, now: float) -> float:
        return min(self._burst, self._level + (now - self._at) * self._rate)


@dataclass(eq=False)
class Endpoint:
    """One server and key, with its limits and its recent state."""

    name: str
    config: EndpointConfig
    max_concurrency: int
    connection: Any = None
    is_structured: bool = True
    """It has not rejected a response schema."""
    key: Secret | None = None
    num_busy: int = 0
    num_sent: int = 0
    num_faults: int = 0
    """Consecutive faults."""
    cool_until: float = -math.inf
    is_cooling_requested: bool = False
    """The server set the time (Retry-After): an answer to an earlier request does not shorten it."""
    refused_until: float = -math.inf
    mean_tokens: float = FIRST_GUESS

    def __post_init__(self) -> None:
        self.requests = TokenBucket(self.config.requests_per_minute, now=0.0)
        self.tokens = TokenBucket(self.config.tokens_per_minute, now=0.0)

    def is_well(self, now: float) -> bool:
        return max(self.cool_until, self.refused_until) <= now

    def wait_s(self, now: float) -> float:
        """Return in how many seconds a request may be sent; infinity: not before another request ends."""
        if self.num_busy >= self.max_concurrency:
            return math.inf
        limits = self.requests.wait_s(1, now=now), self.tokens.wait_s(self.mean_tokens, now=now)
        return max(self.cool_until - now, *limits, 0.0)


@dataclass(eq=False)
class Slot:
    """The slot of one request at an endpoint."""

    endpoint: Endpoint
    reserved: float
    """Tokens that the request is expected to need."""
    used: float | None = field(default=None)
    """Tokens that the server counted."""
    is_echo: bool = False
    """Its fault is the same as that of others in flight: it does not make the endpoint cool for longer."""

    def __str__(self) -> str:
        return self.endpoint.name


class Endpoints:
    """The places of a service; a subclass knows how to send (`actors.metered.service.Service`)."""

    is_revocable = False
    """A request that was sent is charged for, even if its caller has gone."""

    def __init__(self, endpoints: Iterable[Endpoint], clock: Callable[[], float] = time.monotonic):
        self._endpoints = list(endpoints)
        self._clock = clock
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self.num_places = sum(endpoint.max_concurrency for endpoint in self._endpoints)

    async def acquire(self) -> Slot:
        """Return a slot at the least loaded endpoint that is available; first come, first served."""
        async with self._turn:
            while (endpoint := self._free(self._usable())) is None:
                self._changed.clear()
                wait_s = self.wait_s()
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if wait_s == math.inf else wait_s):
                        await self._changed.wait()
            return self._occupy(endpoint)

    def wait_s(self) -> float:
        """Return in how many seconds a slot is free; infinity: not before a request ends."""
        return min(endpoint.wait_s(self._clock()) for endpoint in self._usable())

    def try_acquire_other(self, first: Slot) -> Slot | None:
        """Return a slot that is free now, preferably at another endpoint; None if none is, or requests are queueing."""
        if self._turn.locked():
            return None
        others = [endpoint for endpoint in self._usable() if endpoint is not first.endpoint]
        endpoint = self._free(others) or self._free([first.endpoint])
        return None if endpoint is None else self._occupy(endpoint)

    def release(self, slot: Slot) -> None:
        """Free a slot and settle its tokens."""
        endpoint = slot.endpoint
        endpoint.num_busy -= 1
        endpoint.tokens.acquire((slot.used or 0.0) - slot.reserved, now=self._clock())
        if slot.used is not None:
            endpoint.mean_tokens += 0.1 * (slot.used - endpoint.mean_tokens)
        self._changed.set()

    def record_success(self, slot: Slot) -> None:
        """Note that the endpoint has answered."""
        endpoint = slot.endpoint
        endpoint.num_faults = 0
        endpoint.refused_until = -math.inf
        if not endpoint.is_cooling_requested:
            endpoint.cool_until = -math.inf

    def record_fault(self, slot: Slot, fault: Fault) -> Fault:
        """Leave an endpoint in trouble alone for a while; if another one is well, it is asked at once instead.

        A single endpoint is left alone only from the second consecutive fault on: one lost answer among many
        good ones is no reason to hold up the others.
        """
        endpoint, now = slot.endpoint, self._clock()
        requested_s = fault.retry_after_s
        if slot.is_echo:
            return fault
        if fault.kind not in TROUBLES | REFUSALS:
            if fault.kind != "no_image":
                self.record_success(slot)
            return fault
        if fault.kind in REFUSALS or (requested_s or 0.0) > LAST_COOLING_S:
            endpoint.refused_until = now + (requested_s or REFUSED_S)
        else:
            endpoint.num_faults += 1
            if len(self._endpoints) > 1 or endpoint.num_faults > 1:
                cooling_s = min(LAST_COOLING_S, FIRST_COOLING_S * 2 ** (endpoint.num_faults - 1))
                endpoint.cool_until = max(endpoint.cool_until, now + (requested_s or cooling_s))
                endpoint.is_cooling_requested = requested_s is not None
        if not any(other.is_well(now) for other in self._endpoints if other is not endpoint):
            return fault
        is_refusal = fault.kind in REFUSALS
        is_retryable, is_counted = fault.is_retryable or is_refusal, fault.is_counted and not is_refusal
        return replace(fault, is_retryable=is_retryable, is_counted=is_counted, retry_after_s=None)

    def _usable(self) -> list[Endpoint]:
        """Return the endpoints that do not refuse, or all of them if each one does."""
        now = self._clock()
        return [endpoint for endpoint in self._endpoints if endpoint.refused_until <= now] or self._endpoints

    def _free(self, endpoints: Sequence[Endpoint]) -> Endpoint | None:
        free = [endpoint for endpoint in endpoints if endpoint.wait_s(self._clock()) < 1e-6]
        return min(free, key=lambda one: (one.num_busy / one.max_concurrency, one.num_sent), default=None)

    def _occupy(self, endpoint: Endpoint) -> Slot:
        now = self._clock()
        endpoint.num_busy += 1
        endpoint.num_sent += 1
        endpoint.requests.acquire(1, now=now)
        endpoint.tokens.acquire(endpoint.mean_tokens, now=now)
        return Slot(endpoint, endpoint.mean_tokens)
