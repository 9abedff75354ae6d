"""Which transport leads to which sampler, and all of them as one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import ray
import torch
from ray import ObjectRef

from actors.weights.blocks import Channel
from actors.weights.transport.broadcast import Broadcast, BroadcastGroup
from actors.weights.transport.object_store import ObjectStore, RelayedEnd
from actors.weights.transport.ring import Ring
from actors.weights.wire import Order, Place, ReceivingEnd, Ticket, WorkerState, gpu_of

AUTO = "auto"
CUDA_IPC, BROADCAST, SHARED_MEMORY, OBJECT_STORE = "cuda_ipc", "broadcast", "shared_memory", "object_store"
TRANSPORTS = (AUTO, CUDA_IPC, BROADCAST, SHARED_MEMORY, OBJECT_STORE)
_RING_BLOCK = 4 << 20
"""Bytes of a block in a node's memory: four of them stay in a processor's cache."""
_DRAIN_S = 10.0
_Key = tuple[str, int, tuple[str, ...]]
"""Transport, bytes of a block, workers."""


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
    """Opens the way to all samplers, publish after publish; what is slow to start lasts from one to the next."""

    def __init__(self) -> None:
        self._rings: dict[_Key, Ring] = {}
        self._groups: dict[_Key, BroadcastGroup] = {}

    @contextmanager
    def open(
        self, receivers: Sequence[Any], order: Order, base_version: int | None, device: torch.device
    ) -> Iterator[Channel]:
        """Have `receivers` receive what is written to the channel; on leaving, all of it is loaded.

        `device` is where the weights are. Raises what a receiver raised.
        """
        replies: list[ObjectRef] = []

        def check() -> None:
            done, _ = ray.wait(replies, num_returns=len(replies), timeout=0)
            ray.get(done)

        try:
            channels, kinds = [], _by_kind(order, place_of(device))
            if SHARED_MEMORY in kinds:  # all get the same blocks, and a broadcast sends whole ones
                order = replace(order, block_bytes=min(order.block_bytes, _RING_BLOCK))
            for kind, indices in kinds.items():
                chosen = [receivers[index] for index in indices]
                workers = [state for index in indices for state in order.states[index]]
                channel, ends = self._channel(kind, order, chosen, workers, device, check)
                channels.append(channel)
                for index, receiver in zip(indices, chosen, strict=True):
                    mine = [ends.pop(0) for _ in order.states[index]]
                    tickets = [Ticket(end, order.dtype, order.shapes, base_version) for end in mine]
                    replies.append(receiver.receive.remote(tickets))
            yield channels[0] if len(channels) == 1 else _Fan(channels)
            ray.get(replies)
        except BaseException:
            self._forget()  # receivers may have left, or be in the middle
            with suppress(Exception):
                ray.wait(replies, num_returns=len(replies), timeout=_DRAIN_S)
            raise

    def _channel(
        self,
        kind: str,
        order: Order,
        receivers: Sequence[object],
        workers: Sequence[WorkerState],
        device: torch.device,
        check: Callable[[], None],
    ) -> tuple[Channel, list[ReceivingEnd]]:
        """Return the sender's end of one transport, and one for each worker."""
        size = order.block_bytes
        if kind == OBJECT_STORE:
            return ObjectStore(size, receivers, check), [RelayedEnd(size) for _ in workers]
        key = kind, size, tuple(worker.process for worker in workers)
        if key not in self._rings and key not in self._groups:
            self._forget(kind)
        if kind == BROADCAST:
            if key not in self._groups:
                self._groups[key] = BroadcastGroup(place_of(device).host, len(workers), device)
            group = self._groups[key]
            return Broadcast(group, size, check), [*group.ends(size)]
        if key not in self._rings:
            self._rings[key] = Ring(size, len(workers), device if kind == CUDA_IPC else torch.device("cpu"))
        ring = self._rings[key]
        ring.check = check
        return ring, [*ring.ends()]

    def _forget(self, kind: str = "") -> None:
        """Drop what lasts, of one kind or of all; receivers that still wait are told."""
        for key in [key for key in self._rings if kind in ("", key[0])]:
            self._rings.pop(key).close()
        for key in [key for key in self._groups if kind in ("", key[0])]:
            del self._groups[key]


def _by_kind(order: Order, here: Place) -> dict[str, list[int]]:
    """Return the samplers that each transport leads to."""
    kinds: dict[str, list[int]] = {}
    for index, states in enumerate(order.states):
        kind = transport_between(here, states[0].place) if order.transport == AUTO else order.transport
        kinds.setdefault(kind, []).append(index)
    return kinds


class _Fan:
    """Several channels as one: blocks are filled once and copied to the others."""

    def __init__(self, channels: Sequence[Channel]):
        # The one with the smallest blocks: they fit into the others'.
        self._first, *self._others = sorted(channels, key=lambda channel: channel.block_bytes)
        self.name, self.device = "+".join(channel.name for channel in channels), self._first.device
        self.block_bytes = self._first.block_bytes
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
