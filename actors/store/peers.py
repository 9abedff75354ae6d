"""Images from other nodes, for clusters without a shared file system: on each a small actor serves the node's images.

A store that lacks an image asks the servers of its root, which it finds by name; so a `Store` is still just a
path. A received image is checked against its digest and committed. A lost node's images are lost.
"""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util import list_named_actors

TIMEOUT_S = 60.0
"""How long a whole fetch may take."""
NAMESPACE = "interleave-stores"
"""Not the job's: Serve replicas run in another namespace and must find the servers too."""


def is_with_a_peer(root: Path, digest: str) -> bool:
    """Whether a peer has an image."""
    trouble: list[str] = []
    return any(True for _ in _holders(_servers(root), digest, time.monotonic() + TIMEOUT_S, trouble))


def fetch(root: Path, digest: str, where: str) -> bytes:
    """Return an image from a peer. Raises FileNotFoundError with `where` and why each peer failed."""
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
    """Yield the servers that have an image, as they answer; add to `trouble` those that do not answer."""
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
    prefix = prefix_of(root)
    servers = {}
    for actor in list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE and actor["name"].startswith(prefix):
            try:
                servers[actor["name"].removeprefix(prefix)] = ray.get_actor(actor["name"], namespace=NAMESPACE)
            except ValueError:
                continue  # it is gone in the meantime
    return servers


def prefix_of(root: Path | str) -> str:
    """Return the prefix of the names of a root's servers."""
    return f"store:{hashlib.sha256(str(Path(root).absolute()).encode()).hexdigest()[:12]}:"
