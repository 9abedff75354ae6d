"""Calls to an actor: it raises what its method raised, a cancelled caller cancels it, and a dead one may come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

PATIENCE_S = 120.0
"""How long a dead actor that Ray starts again may take to come back before its callers give up."""
SETTLED_S = 10.0
"""An actor that was lost only after so long had been alive."""

Result = TypeVar("Result")


async def ask(method: Any, *arguments: Any) -> Any:
    """Return what an actor's method returns; raise what it raises, `RayActorError` where the actor is dead."""
    reference = method.remote(*arguments)
    try:
        return await reference
    except asyncio.CancelledError:
        ray.cancel(reference)
        raise
    except RayTaskError as error:
        raise error.cause from error


async def retry_until_alive(asking: Callable[[], Awaitable[Result]]) -> Result:
    """Ask until the actor is alive. Raises `RayActorError` when it stays dead for `PATIENCE_S`."""
    # Often, so that somebody gets through even to an actor that dies soon after each start.
    clock = asyncio.get_running_loop().time
    alive_at = clock()
    wait_s = 0.05
    while True:
        asked_at = clock()
        try:
            return await asking()
        except RayActorError:
            if clock() - asked_at > SETTLED_S:
                alive_at, wait_s = clock(), 0.05
            elif clock() - alive_at > PATIENCE_S:
                raise
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, 1.0)
