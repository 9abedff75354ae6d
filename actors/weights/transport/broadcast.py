"""Blocks by a broadcast of torch.distributed: NCCL between GPUs, gloo between CPUs, over any number of nodes.

The group is the transfer's own, beside whatever group the processes have already. It lasts, since NCCL takes seconds
to start.
"""

import threading
import time
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from actors.weights.blocks import TransferError, is_last

_TIMEOUT = timedelta(seconds=300)
_POLL_S = 1e-4
_CHECK_S = 0.2
_joined: dict[tuple[str, int], dist.ProcessGroup] = {}
"""A receiver's groups, by their ids and its ranks in them."""


@dataclass(frozen=True)
class BroadcastEnd:
    """A receiver's end; `open` is called in the receiver's process."""

    group: str
    host: str
    port: int
    rank: int
    size: int
    backend: str
    block_bytes: int

    def open(self) -> Generator[torch.Tensor, None, None]:
        """Yield blocks as they come; the next one is on its way meanwhile."""
        mine = self.group, self.rank
        if mine not in _joined:
            for old in [key for key in _joined if key[0] != self.group]:
                del _joined[old]  # of a sender, or with other samplers, that are no more
            _joined[mine] = _join(self.backend, self.host, self.port, self.rank, self.size)
        group = _joined[mine]
        buffers = [_buffer(self.backend, self.block_bytes) for _ in range(2)]
        number, work = 0, group.broadcast(buffers[0], 0)
        while True:
            _finish(work)
            block = buffers[number % 2]
            number += 1
            if is_last(block):
                yield block
                return
            work = group.broadcast(buffers[number % 2], 0)
            yield block

    def give_up(self) -> None:
        """Leave the group: what the sender has in flight fails at once, else it would wait for the timeout."""
        _joined.pop((self.group, self.rank), None)


class BroadcastGroup:
    """A sender and its receivers, for any number of transfers."""

    def __init__(self, host: str, num_receivers: int, device: torch.device):
        self.backend = "nccl" if device.type == "cuda" else "gloo"
        self.id = uuid.uuid4().hex
        self._store = dist.TCPStore(host, 0, num_receivers + 1, True, _TIMEOUT, wait_for_workers=False)
        self._host, self._num_receivers = host, num_receivers
        self._group: dist.ProcessGroup | None = None

    def ends(self, block_bytes: int) -> list[BroadcastEnd]:
        """Return one end for each receiver."""
        size = self._num_receivers + 1
        return [
            BroadcastEnd(self.id, self._host, self._store.port, rank, size, self.backend, block_bytes)
            for rank in range(1, size)
        ]

    def join(self, check: Callable[[], None]) -> dist.ProcessGroup:
        """Return the group once all receivers have joined; `check` raises if one is lost meanwhile."""
        if self._group is None:
            joined: Future[dist.ProcessGroup] = Future()

            def join() -> None:
                try:
                    joined.set_result(_join(self.backend, self._host, self._store.port, 0, self._num_receivers + 1))
                except Exception as error:
                    joined.set_exception(error)

            threading.Thread(target=join, daemon=True).start()
            _wait(joined.done, check)
            self._group = joined.result()
        return self._group


class Broadcast:
    """The sender's end of one transfer (`actors.weights.blocks.Channel`)."""

    def __init__(self, group: BroadcastGroup, block_bytes: int, check: Callable[[], None]):
        self.name = group.backend
        self.block_bytes = block_bytes
        self.check = check
        self._group = group
        self._buffers = [_buffer(group.backend, block_bytes) for _ in range(2)]
        self.device = self._buffers[0].device
        self._works: list[dist.Work | None] = [None, None]
        self._number = 0

    def block(self) -> torch.Tensor:
        """Return the next block to fill, once what was in it has been sent."""
        self._wait_for(self._number % 2)
        return self._buffers[self._number % 2]

    def commit(self, num_bytes: int) -> None:
        """Send the block; all of it, since receivers do not know how much is in it."""
        group = self._group.join(self.check)
        self._works[self._number % 2] = group.broadcast(self._buffers[self._number % 2], 0)
        self._number += 1

    def finish(self) -> None:
        """Wait until every block has been sent."""
        for slot in range(2):
            self._wait_for(slot)

    def _wait_for(self, slot: int) -> None:
        work, self._works[slot] = self._works[slot], None
        if work is not None:
            _wait(work.is_completed, self.check)
            _finish(work)


def _wait(is_done: Callable[[], bool], check: Callable[[], None]) -> None:
    checked = time.monotonic()
    while not is_done():
        time.sleep(_POLL_S)
        if time.monotonic() - checked > _CHECK_S:
            check()
            checked = time.monotonic()


def _finish(work: dist.Work) -> None:
    try:
        work.wait()
    except RuntimeError as error:
        raise TransferError(f"a broadcast was broken off: {error}") from error


def _join(backend: str, host: str, port: int, rank: int, size: int) -> dist.ProcessGroup:
    store = dist.TCPStore(host, port, size, False, _TIMEOUT, wait_for_workers=False)
    if backend == "nccl":
        return dist.ProcessGroupNCCL(store, rank, size)
    return dist.ProcessGroupGloo(store, rank, size, _TIMEOUT)


def _buffer(backend: str, block_bytes: int) -> torch.Tensor:
    return torch.empty(block_bytes, dtype=torch.uint8, device="cuda" if backend == "nccl" else "cpu")
