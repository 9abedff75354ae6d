"""Images from node to node, for clusters without a shared file system: one small actor a node.

A store that misses an image asks the servers of its root, which it finds by name; so a `Store` stays what it
was, a path. What comes is checked against its digest and committed. A lost node's images are absent.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.store.eviction import StoreKeeper
from actors.store.store import Store

TIMEOUT_S = 60.0
"""How long all of a fetch may take."""
_NAMESPACE = "interleave-stores"
"""Not the job's: replicas of Serve live in a namespace of their own and must find the servers too."""


class StoreServer:
    """Serves the images of one node's store, and keeps it within its limit."""

    def __init__(self, root: str, limit_gib: float, run_start: float):
        self._store = Store(root)
        self._keeper = StoreKeeper(self._store.root, limit_gib, run_start)
        self._keeper.start()

    def has(self, digest: str) -> bool:
        return self._store.image_path(f"sha256:{digest}").exists()

    def read(self, digest: str) -> bytes | None:
        """Return the bytes of an image that this node has."""
        try:
            return self._store.image_path(f"sha256:{digest}").read_bytes()
        except FileNotFoundError:
            return None


@asynccontextmanager
async def managed_store(
    root: Path | str, *, is_shared: bool, limit_gib: float, run_start: float
) -> AsyncIterator[None]:
    """Keep a run's store within its limit and, unless all nodes share it, serve each node's to the others.

    Nodes that join the cluster later have no server. Ray must be initialized unless the store is shared.
    """
    if is_shared:
        keeper = StoreKeeper(Path(root), limit_gib, run_start)
        await asyncio.to_thread(keeper.start)
        try:
            yield
        finally:
            await asyncio.to_thread(keeper.stop)
        return
    run = uuid.uuid4().hex[:8]
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    keep = limit_gib, run_start
    servers = [start_server(root, f"{run}:{node}", keep=keep, node=node) for node in nodes]
    try:
        await asyncio.gather(*(server.has.remote("") for server in servers))
        yield
    finally:
        for server in servers:
            ray.kill(server)


def start_server(
    root: Path | str,
    name: str,
    *,
    served: Path | str | None = None,
    keep: tuple[float, float] = (0.0, 0.0),
    node: str = "",
) -> Any:
    """Start a server for whoever misses an image of `root`; what it has is under `served` (the same path).

    `keep` is the store's limit in GiB (0: none) and the time when the run began.
    """
    # Asked again by Ray when it was killed: it only reads.
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 16}
    if node:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
    make = ray.remote(StoreServer).options(name=_prefix(root) + name, namespace=_NAMESPACE, **options)
    return make.remote(str(Path(served or root).absolute()), *keep)


def is_with_a_peer(root: Path, digest: str) -> bool:
    """Whether a peer has an image."""
    trouble: list[str] = []
    return any(True for _ in _holders(_servers(root), digest, time.monotonic() + TIMEOUT_S, trouble))


def fetch(root: Path, digest: str, where: str) -> bytes:
    """Return an image of a peer. Raises FileNotFoundError: `where` it is not, and who was asked in vain."""
    deadline, trouble = time.monotonic() + TIMEOUT_S, list[str]()
    servers = _servers(root)
    for name in _holders(servers, digest, deadline, trouble):
        try:
            timeout_s = max(0.1, deadline - time.monotonic())
            data: bytes | None = ray.get(servers[name].read.remote(digest), timeout=timeout_s)
        except RayError as error:
            trouble.append(f"{name} is lost ({type(error).__name__})")
            continue
        if data is not None and hashlib.sha256(data).hexdigest() == digest:
            return data
        trouble.append(f"{name} sent other bytes")
    if not servers:
        raise FileNotFoundError(where)
    told = "; ".join(trouble) or "images of a lost node are lost with it"
    raise FileNotFoundError(f"{where}, and none of {len(servers)} peers has it: {told}")


def _holders(servers: dict[str, Any], digest: str, deadline: float, trouble: list[str]) -> Iterator[str]:
    """Yield the servers that have an image, as they answer; say in `trouble` who cannot tell."""
    asked = {server.has.remote(digest): name for name, server in servers.items()}
    waiting = list(asked)
    while waiting:
        done, waiting = ray.wait(waiting, timeout=max(0.0, deadline - time.monotonic()))
        if not done:
            trouble += [f"{asked[answer]} did not answer" for answer in waiting]
            return
        try:
            if ray.get(done[0]):
                yield asked[done[0]]
        except RayError as error:
            trouble.append(f"{asked[done[0]]} is lost ({type(error).__name__})")


def _servers(root: Path) -> dict[str, Any]:
    """Return the living servers for a root, by the rest of their names."""
    prefix = _prefix(root)
    servers = {}
    for actor in list_named_actors(all_namespaces=True):
        if actor["namespace"] == _NAMESPACE and actor["name"].startswith(prefix):
            try:
                servers[actor["name"].removeprefix(prefix)] = ray.get_actor(actor["name"], namespace=_NAMESPACE)
            except ValueError:
                continue  # gone meanwhile
    return servers


def _prefix(root: Path | str) -> str:
    return f"store:{hashlib.sha256(str(Path(root).absolute()).encode()).hexdigest()[:12]}:"
