"""The images of each node's store, served to the other nodes: for clusters without a shared file system."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.losses.stacks import answer_with_stacks
from actors.store.eviction import StoreKeeper
from actors.store.peers import NAMESPACE, prefix_of
from actors.store.store import Store


class StoreServer:
    """Serves the images of one node's store, and keeps that store within its limit."""

    def __init__(self, root: str, limit_gib: float, run_start: float):
        answer_with_stacks()
        self._store = Store(root)
        self._keeper = StoreKeeper(self._store.root, limit_gib, run_start)
        self._keeper.start()

    def has(self, digest: str) -> bool:
        return self._store.image_path(f"sha256:{digest}").exists()

    def read(self, digest: str) -> bytes | None:
        """Return the bytes of an image; None if this node does not have it."""
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
    """Start a server for nodes that lack an image of `root`; it serves the store at `served` (default: `root`).

    `keep` is the store's limit in GiB (0: none) and the time when the run began.
    """
    # Ray may repeat calls after a restart: they only read.
    options: dict[str, object] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 16}
    if node:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False)
    make = ray.remote(StoreServer).options(name=prefix_of(root) + name, namespace=NAMESPACE, **options)
    return make.remote(str(Path(served or root).absolute()), *keep)
