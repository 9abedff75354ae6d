"""Actors that live and do not answer: they are killed, so that whoever waits for them goes on as after a death."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from actors.losses import stacks
from actors.nodes import kill_process, on_node
from actors.notice import notify

Place = tuple[str, int]
"""The node and the process of an actor."""
_BUSY_SHARE = 0.5
"""Of the time: whoever hangs takes less, and what computes, or wants to where no core is free, takes all of it."""
_ASK_S = 10.0


def ask_place(actor: Any) -> Awaitable[Place]:
    """Ask an actor where it is."""
    place: Awaitable[Place] = actor.__ray_call__.remote(_here)
    return place


def _here(actor: object) -> Place:
    return ray.get_runtime_context().get_node_id(), os.getpid()


def kill_at(place: Place) -> None:
    """Kill the process of an actor."""
    kill_process(*place)


def busy_at(place: Place) -> float:
    """Return the seconds that an actor's process was busy (`stacks.busy_s`); 0 where its node does not say."""
    node, pid = place
    if node == ray.get_runtime_context().get_node_id():
        return stacks.busy_s(pid)
    with suppress(RayError):
        return float(ray.get(on_node(node, stacks.busy_s).remote(pid), timeout=_ASK_S))
    return 0.0


@dataclass(frozen=True)
class Rules:
    """How actors are asked, and what is done with one that is silent."""

    silent_s: float = 18.0
    """How long an asynchronous actor that was up may leave a question open: its loop does nothing else that long."""
    every_s: float = 3.0
    ask: Callable[[Any], Awaitable[Place]] = ask_place
    """Raises RayError while the actor is dead or being started."""
    num_silences: int = 5
    """Of one that is busy meanwhile: on a machine with more to do than it has cores, it may get none for long."""
    busy: Callable[[Place], float] = busy_at
    kill: Callable[[Place], None] = kill_at
    tell: Callable[[str], None] = notify
    """Is given a line for each kill."""


@asynccontextmanager
async def silent_actors_killed(actors: Callable[[], Mapping[str, Any]], rules: Rules = Rules()) -> AsyncIterator[None]:
    """Ask actors, by name, again and again whether they answer, and kill one that no longer does.

    Ray starts it again where it may be restarted, and calls under way fail as with any dead actor. One that is being
    started is left alone, however long that takes.
    """
    watches: dict[str, tuple[Any, asyncio.Task[None]]] = {}

    async def keep_watching() -> None:
        while True:
            for name, actor in actors().items():
                known, watch = watches.get(name, (None, None))
                if known is not actor:
                    if watch is not None:
                        watch.cancel()
                    watches[name] = actor, asyncio.create_task(_watch(name, actor, rules))
            await asyncio.sleep(rules.every_s)

    keeping = asyncio.create_task(keep_watching())
    try:
        yield
    finally:
        for task in (keeping, *(watch for _, watch in watches.values())):
            task.cancel()


async def _watch(name: str, actor: Any, rules: Rules) -> None:
    place: Place | None = None
    heard, num_silences = time.monotonic(), 0
    while True:
        try:
            async with asyncio.timeout(rules.silent_s if place else None):
                place = await rules.ask(actor)
            heard, num_silences = time.monotonic(), 0
        except RayError:
            place = None
        except TimeoutError:
            assert place is not None
            num_silences += 1
            if num_silences < rules.num_silences and await _is_busy(place, rules):
                continue
            rules.tell(
                f"{name} (process {place[1]}) has not answered for {time.monotonic() - heard:.0f} s: it is killed, and "
                "what it did is done again"
            )
            await asyncio.to_thread(rules.kill, place)
            place = None
        await asyncio.sleep(rules.every_s)


async def _is_busy(place: Place, rules: Rules) -> bool:
    before, began = await asyncio.to_thread(rules.busy, place), time.monotonic()
    await asyncio.sleep(rules.every_s)
    return await asyncio.to_thread(rules.busy, place) - before > _BUSY_SHARE * (time.monotonic() - began)
