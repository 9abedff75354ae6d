"""Actor calls that raise what the method raised, are cancelled with their caller, and can wait for a restart."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayActorError, RayTaskError

PATIENCE_S = 120.0
"""How long callers wait for Ray to restart a dead actor before they give up."""
SETTLED_S = 10.0
"""An actor lost more than this long after the call was made must have been alive."""

Result = TypeVar("Result")


async def ask(method: Any, *arguments: object) -> Any:
    """Return what an actor's method returns; raise what it raises, or `RayActorError` if the actor is dead."""
    reference = method.remote(*arguments)
    try:
        return await reference
    except asyncio.CancelledError:
        ray.cancel(reference)
        raise
    except RayTaskError as error:
        raise error.cause from error


async def retry_until_alive(asking: Callable[[], Awaitable[Result]]) -> Result:
    """Retry `asking` until the actor is alive. Raises `RayActorError` once it has been dead for `PATIENCE_S`."""
    # Retry often, so that some call gets through even to an actor that dies soon after each start.
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
