"""The servers that this process has started, here or in actors, until `shutdown`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from actors.servers.child_server import ChildServer, ServerError, ServerSpec
from rollout.concurrency import all_of

PLACING_S = 120.0
"""How long Ray may take to find a node for a server, beyond the server's own start."""
_STOP_S = 30.0
_running: list[Server] = []


class Server:
    """A server in this process or in an actor."""

    def __init__(self, here: ChildServer | None = None, actor: Any = None):
        self._here = here
        self._actor = actor

    async def ask(self, method: str) -> Any:
        """Call a method of the server; None in a process that knows nothing of it."""
        if self._here is not None:
            return await asyncio.to_thread(getattr(self._here, method))
        if self._actor is None:
            return None
        try:
            return await getattr(self._actor, method).remote()
        except RayTaskError as error:
            raise error.cause from error

    def stop(self) -> None:
        """Stop the server; an actor's child would end with it at the latest."""
        if self._here is not None:
            self._here.stop()
        elif self._actor is not None and ray.is_initialized():
            with suppress(RayError):
                ray.get(self._actor.stop.remote(), timeout=_STOP_S)
            ray.kill(self._actor)

    def __reduce__(self) -> tuple[object, ...]:
        return Server, (None, self._actor)


async def start_servers(spec: ServerSpec, num_replicas: int, log: Path) -> tuple[tuple[Server, ...], list[str]]:
    """Start equal servers, each in an actor with its GPUs; 0: one of this process, without Ray.

    Return them with their base URLs (`http://host:port/v1`). The logs are `<log>-<number>.log`; ports, where one is
    set, follow it. Raises `ServerError` with the end of the log when one does not come up. `shutdown` stops them all.
    """
    servers = []
    for number in range(max(1, num_replicas)):
        each = replace(spec, port=spec.port and spec.port + number)
        make = partial(ChildServer, each, log=log.with_name(f"{log.name}-{number}.log"))
        servers.append(Server(here=make()) if num_replicas == 0 else Server(actor=_place(make, each)))
        _running.append(servers[-1])
    try:
        # A server settles by itself within its time; what is beyond it was waiting for a node.
        async with asyncio.timeout(spec.start_timeout_s + PLACING_S):
            return tuple(servers), await all_of(server.ask("wait_until_ready") for server in servers)
    except TimeoutError:
        raise ServerError(
            f"no node had {spec.gpus:g} GPUs and {spec.cpus:g} CPUs free for {spec.title}: others of the run hold them"
        ) from None


async def troubles(servers: Sequence[Server]) -> list[str]:
    """Return what is wrong with each server that does not answer just now, with its last words."""
    found = await asyncio.gather(*(server.ask("trouble") for server in servers), return_exceptions=True)
    return [str(trouble) for trouble in found if trouble]


def shutdown() -> None:
    """Stop the servers that this process started."""
    while _running:
        _running.pop().stop()


class _ServerActor:
    """A server on whichever node has the GPUs, for all nodes to ask."""

    def __init__(self, make: Callable[..., ChildServer]):
        self._server = make(host=ray.util.get_node_ip_address())

    def wait_until_ready(self) -> str:
        return self._server.wait_until_ready()

    def trouble(self) -> str:
        return self._server.trouble()

    def pid(self) -> int:
        return self._server.pid()

    def stop(self) -> None:
        self._server.stop()


def _place(make: Callable[..., ChildServer], spec: ServerSpec) -> object:
    if not ray.is_initialized():
        raise ValueError("Ray is not running: call ray.init() first, or set num_replicas=0 to do without it")
    has = ray.cluster_resources().get("GPU", 0.0)
    if spec.gpus > has:
        raise ValueError(f"{spec.section}.gpus is {spec.gpus:g}, but the cluster has {has:g} GPUs in all")
    options = {"num_cpus": spec.cpus, "num_gpus": spec.gpus, "max_concurrency": 16}
    return ray.remote(_ServerActor).options(**options).remote(make)
