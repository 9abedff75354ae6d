"""A request's scope says when the service stops: the request ends with an error, not with a broken connection."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress
from typing import Any, TypeVar

from starlette.types import Scope

STOPPING = "interleave.stopping"
"""Name of the event in a request's scope; absent if another server runs the routes."""
Done = TypeVar("Done")
Item = TypeVar("Item")


class ServiceStopping(Exception):
    """The service stops before the work is done."""


async def unless_stopping(scope: Scope, work: Awaitable[Done]) -> Done:
    """Return the result of `work`; cancel it and raise `ServiceStopping` if the service stops first."""
    stopping: asyncio.Event | None = scope.get(STOPPING)
    if stopping is None:
        return await work
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ServiceStopping
        return working.result()
    finally:
        for task in (working, waiting):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(working, waiting, return_exceptions=True)


async def items_unless_stopping(scope: Scope, items: AsyncGenerator[Item, Any]) -> AsyncGenerator[Item]:
    """Yield what `items` yields. Raises `ServiceStopping` if the service stops before its end."""
    while True:
        try:
            item = await unless_stopping(scope, anext(items))
        except StopAsyncIteration:
            return
        yield item
