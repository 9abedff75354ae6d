"""Which transport leads to which sampler, and all of them as one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ray
import torch

from actors.weights.blocks import Channel
from actors.weights.transport.broadcast import Broadcast, BroadcastGroup
from actors.weights.transport.object_store import ObjectStore, RelayedEnd
from actors.weights.transport.ring import Ring
from actors.weights.wire import Order, Place, Ticket, gpu_of

AUTO = "auto"
CUDA_IPC, BROADCAST, SHARED_MEMORY, OBJECT_STORE = "cuda_ipc", "broadcast", "shared_memory", "object_store"
TRANSPORTS = (AUTO, CUDA_IPC, BROADCAST, SHARED_MEMORY, OBJECT_STORE)
_RING_BLOCK = 4 << 20
"""Bytes of a block in a node's memory: four of them stay in a processor's cache."""
_DRAIN_S = 10.0


def place_of(device: torch.device) -> Place:
    """Return where this process holds weights that are on `device`."""
    return Place(ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), gpu_of(device))


def transport_between(sender: Place, receiver: Place) -> str:
    """Return the fastest transport from one place to the other."""
    if sender.gpu and sender.gpu == receiver.gpu:
        return CUDA_IPC
    if sender.gpu and receiver.gpu:
        return BROADCAST
    if sender.node == receiver.node:
        return SHARED_MEMORY
    return OBJECT_STORE if sender.gpu or receiver.gpu else BROADCAST


class Transfer:
    """Opens the way to all samplers, publish after publish."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], BroadcastGroup] = {}

    @contextmanager
    def open(
        self, receivers: Sequence[Any], order: Order, base_version: int | None, device: torch.device
    ) -> Iterator[Channel]:
        """Have `receivers` receive what is written to the channel; on leaving, all of it is loaded.

        `device` is where the weights are. Raises what a receiver raised.
        """
        ways = _Ways(receivers, order, base_version, place_of(device))
        try:
            try:
                channel = ways.channels(self._groups)
                yield channel
            finally:
                ways.close()
            ray.get(ways.replies)
        except BaseException:
            self._groups.clear()  # receivers may have left
            with suppress(Exception):
                ray.wait(ways.replies, num_returns=len(ways.replies), timeout=_DRAIN_S)
            raise


class _Ways:
    """The ways of one publish."""

    def __init__(self, receivers: Sequence[Any], order: Order, base_version: int | None, here: Place):
        self.replies: list[Any] = []
        self._receivers, self._order, self._base_version = receivers, order, base_version
        self._here = here
        self._block_bytes = order.block_bytes
        self._channels: list[Channel] = []

    def channels(self, groups: dict[tuple[str, ...], BroadcastGroup]) -> Channel:
        """Start the receivers and return one channel to all of them."""
        order = self._order
        by_kind: dict[str, list[int]] = {}
        for index, states in enumerate(order.states):
            kind = transport_between(self._here, states[0].place) if order.transport == AUTO else order.transport
            by_kind.setdefault(kind, []).append(index)
        if len(by_kind) > 1:
            self._block_bytes = min(self._block_bytes, _RING_BLOCK)
        for kind, indices in by_kind.items():
            self._open(kind, indices, groups)
        return self._channels[0] if len(self._channels) == 1 else _Fan(self._channels)

    def check(self) -> None:
        """Raise what a receiver raised, if one did."""
        done, _ = ray.wait(self.replies, num_returns=len(self.replies), timeout=0)
        ray.get(done)

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def _open(self, kind: str, indices: Sequence[int], groups: dict[tuple[str, ...], BroadcastGroup]) -> None:
        num_workers = sum(len(self._order.states[index]) for index in indices)
        size = self._block_bytes
        ends: list[Any]
        if kind == OBJECT_STORE:
            receivers = [self._receivers[index] for index in indices]
            self._channels.append(ObjectStore(size, receivers, self.check))
            ends = [RelayedEnd(size)] * num_workers
        elif kind == BROADCAST:
            key = tuple(state.process for index in indices for state in self._order.states[index])
            device = torch.device("cuda" if self._here.gpu else "cpu")
            if key not in groups:
                groups[key] = BroadcastGroup(self._here.host, num_workers, device)
            self._channels.append(Broadcast(groups[key], size, self.check))
            ends = groups[key].ends(size)
        else:
            device = torch.device("cuda" if kind == CUDA_IPC else "cpu")
            ring = Ring(min(size, _RING_BLOCK) if kind == SHARED_MEMORY else size, num_workers, self.check, device)
            self._channels.append(ring)
            ends = ring.ends()
        order = self._order
        remaining = iter(ends)
        for index in indices:
            tickets = [
                Ticket(next(remaining), order.dtype, order.shapes, self._base_version) for _ in order.states[index]
            ]
            self.replies.append(self._receivers[index].receive.remote(tickets))


class _Fan:
    """Several channels as one: blocks are filled once and copied to the others."""

    def __init__(self, channels: Sequence[Channel]):
        self._first, *self._others = channels
        self.name, self.device = "+".join(channel.name for channel in channels), self._first.device
        self._block = torch.empty(0)

    def block(self) -> torch.Tensor:
        self._block = self._first.block()
        return self._block

    def commit(self, num_bytes: int) -> None:
        for other in self._others:
            other.block()[:num_bytes].copy_(self._block[:num_bytes])
            other.commit(num_bytes)
        self._first.commit(num_bytes)

    def finish(self) -> None:
        for channel in (self._first, *self._others):
            channel.finish()

    def close(self) -> None:
        for channel in (self._first, *self._others):
            channel.close()
