"""The nodes of a cluster, each asked by itself. Ray has to be up."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_TIMEOUT_S = 90.0
"""For all nodes together: a node's first worker of a job takes seconds to start."""
_SENT_BYTES = 2**26

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Said(Generic[Answer]):
    """What a node answered, or why it did not."""

    answer: Answer | None
    error: str = ""


def ask_nodes(question: Callable[..., Answer], *arguments: object) -> Mapping[str, Said[Answer]]:
    """Call a function of a module on each node; return what each said by host name and address, the driver's first.

    The function is found by its import path: a node that does not have our code says so.
    """
    asked = {name: on_node(node, question).remote(*arguments) for name, node in _nodes().items()}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_TIMEOUT_S)
    return {name: _said(reference) for name, reference in asked.items()}


def seconds_per_gib(rounds: int = 3) -> Mapping[str, float]:
    """Return how long a GiB takes from this node to each other one, by Ray's object store; the best of some rounds.

    A node that does not answer is left out.
    """
    others = dict(list(_nodes().items())[1:])
    best: dict[str, float] = {}
    for _ in range(rounds):
        sent = ray.put(np.random.default_rng(0).integers(0, 256, _SENT_BYTES, dtype=np.uint8))
        for name, node in others.items():  # one after another: they would share this node's network
            said = _said(on_node(node, _seconds_to_fetch).remote([sent]), _TIMEOUT_S)
            if said.answer is not None:
                best[name] = min(best.get(name, said.answer), said.answer)
    return {name: seconds * 2**30 / _SENT_BYTES for name, seconds in best.items()}


def _nodes() -> dict[str, str]:
    """Return the ids of the nodes that live, by host name and address; the driver's comes first."""
    mine = ray.get_runtime_context().get_node_id()
    alive = sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: node["NodeID"] != mine)
    return {f"{node['NodeManagerHostname']} ({_address(node)})": node["NodeID"] for node in alive}


def _address(node: Mapping[str, object]) -> str:
    """Return where a node is reached; with its port, as several may share a machine."""
    return f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"


def on_node(node: str, function: Callable[..., Answer]) -> ray.remote_function.RemoteFunction:
    """Return a function of a module as one that runs on a node, by its id, and takes none of its logical CPUs."""
    where = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=where)


def _said(reference: ray.ObjectRef, timeout_s: float = 0.0) -> Said[Any]:
    try:
        return Said(ray.get(reference, timeout=timeout_s))
    except RayTaskError as error:
        return Said(None, " ".join(str(error.cause or error).split())[:300])
    except RayError as error:
        return Said(None, " ".join(f"{type(error).__name__}: {error}".split())[:300])


def _seconds_to_fetch(sent: Sequence[ray.ObjectRef]) -> float:
    began = time.monotonic()
    ray.get(sent[0])
    return time.monotonic() - began


def kill_process(node: str, pid: int) -> None:
    """Kill a process on its node, if it is there: one that is stopped would not hear Ray's own request to end."""
    with suppress(ProcessLookupError, RayError):
        if node == ray.get_runtime_context().get_node_id():
            os.kill(pid, signal.SIGKILL)
        else:
            ray.get(on_node(node, os.kill).remote(pid, signal.SIGKILL), timeout=10.0)
