"""Retry a call under one deadline: what a failed attempt is, and when the next one may start."""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

from ray.exceptions import RayActorError, RayError, RayTaskError

from rollout.roles import BudgetSpent
from rollout.text.foreign import error_text, writable

Result = TypeVar("Result")
Place = TypeVar("Place")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one attempt failed, as plain data that can cross process boundaries."""

    kind: str
    """A short stable name to count by: timeout, rate_limit, unreadable, ..."""
    error: str
    is_retryable: bool = True
    is_counted: bool = True
    """False: the request has not been processed (a replica died), so only the deadline limits retries."""
    retry_after_s: float | None = None
    """The minimum wait that the other side asks for."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", writable(self.error))  # it goes into ledgers, pages and answers


class CallError(Exception):
    """An attempt, or all of them, failed with this fault."""

    def __init__(self, fault: Fault):
        super().__init__(fault)
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.fault.kind}: {self.fault.error}"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long and how often to try: back-off doubles from `first_wait_s` to `max_wait_s`, with jitter."""

    timeout_s: float
    num_attempts: int
    first_wait_s: float = 0.25
    max_wait_s: float = 10.0


async def retry(
    attempt: Callable[[Place, float], Awaitable[Result]],
    policy: RetryPolicy,
    place: Callable[[], AbstractAsyncContextManager[Place]],
) -> Result:
    """Return the first answer of `attempt(place, limit_s)`. Raises `CallError` with the last fault.

    A place is held during an attempt, not between attempts, and waiting for one does not count against the
    deadline: our own queue is no reason to give up. An attempt gets half of the time that is left (the last
    one all of it), so that a hanging attempt leaves time for another.
    """
    clock = asyncio.get_running_loop().time
    num_tries, num_counted, spent_s = 0, 0, 0.0
    while True:
        left_s = policy.timeout_s - spent_s
        is_last = num_counted + 1 >= policy.num_attempts
        async with place() as here:
            began = clock()
            try:
                return await attempt(here, left_s if is_last else left_s / 2)
            except BudgetSpent:
                raise
            except Exception as error:
                fault, cause = fault_of(error), error
            spent_s += clock() - began
        num_tries += 1
        num_counted += fault.is_counted
        wait_s = _wait_s(fault, num_tries, policy)
        is_over = num_counted >= policy.num_attempts or spent_s + wait_s >= policy.timeout_s
        if not fault.is_retryable or is_over:
            asked = f"; asked to wait {fault.retry_after_s:g} s" if fault.retry_after_s and fault.is_retryable else ""
            history = f"{fault.error} [attempts: {num_tries}, {spent_s:.1f} of {policy.timeout_s:g} s{asked}]"
            raise CallError(replace(fault, error=history)) from cause
        await asyncio.sleep(wait_s)
        spent_s += wait_s


def fault_of(error: BaseException) -> Fault:
    """Return what an attempt's exception means for the next attempt."""
    if isinstance(error, CallError):
        return error.fault
    if isinstance(error, TimeoutError) and not isinstance(error, RayError):
        return Fault("timeout", "no answer in time")
    # A RayTaskError wraps the callee's own exception; it may inherit from any class.
    is_lost = (isinstance(error, RayActorError) or _is_of_serve(error)) and not isinstance(error, RayTaskError)
    kind = "replica_lost" if is_lost else type(getattr(error, "cause", None) or error).__name__
    return Fault(kind, " ".join(error_text(error).split())[-500:], is_counted=not is_lost)


def _is_of_serve(error: BaseException) -> bool:
    """Whether Ray Serve raised it: not if Serve has not been imported yet, which takes seconds."""
    exceptions = sys.modules.get("ray.serve.exceptions")
    return exceptions is not None and isinstance(error, exceptions.RayServeException)


def _wait_s(fault: Fault, num_tries: int, policy: RetryPolicy) -> float:
    wait_s = min(policy.max_wait_s, policy.first_wait_s * 2 ** (num_tries - 1)) * random.uniform(0.5, 1.0)
    return float(max(wait_s, fault.retry_after_s or 0.0))
