"""What several processes of one Ray job need, started by one of them: for jobs whose driver is not ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray

from actors.calls import ask

Started = TypeVar("Started")

_kept: dict[str, Any] = {}
"""The actors, by their names: Ray ends one when nobody who made it holds it any more."""


class _Starter:
    """Holds what was started: the actors among it live as long as this one."""

    def __init__(self, make: Callable[[], Awaitable[object]]):
        self._make = make
        self._starting: asyncio.Task[object] | None = None

    async def started(self) -> object:
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._make())
        return await asyncio.shield(self._starting)


async def started_once(name: str, make: Callable[[], Awaitable[Started]]) -> Started:
    """Return a copy of what the first `make` of a job returns, whichever process asks by this name. Needs Ray.

    It runs in an actor, is tried once, and what it raises is raised for all. It ends with the process that was first.
    """
    actor = ray.remote(_Starter).options(name=name, get_if_exists=True, num_cpus=0, max_concurrency=64).remote(make)
    started: Started = await ask(_kept.setdefault(name, actor).started)
    return started
