"""Blocks through Ray's object store: the last resort, between a GPU's process and a CPU's on another node."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from ray import ObjectRef

from actors.weights.blocks import TransferError

_POLL_S = 0.2


@dataclass(frozen=True)
class RelayedEnd:
    """What a sampler gets instead of a receiver's end: it passes blocks on to its own workers by a ring."""

    block_bytes: int

    def open(self) -> Generator[torch.Tensor, None, None]:
        """Raise `TransferError`: a worker is not reached by Ray; its sampler replaces this end by that of a ring."""
        raise TransferError("blocks from Ray's object store reach workers by way of their sampler")

    def give_up(self) -> None:
        """Nothing to do, as for a ring."""


class ObjectStore:
    """The sender's end (`actors.weights.blocks.Channel`)."""

    name = "object_store"
    device = torch.device("cpu")

    def __init__(self, block_bytes: int, receivers: Sequence[Any], check: Callable[[], None]):
        """`receivers` are sampler actors."""
        self.block_bytes, self._receivers, self.check = block_bytes, receivers, check
        self._block = np.empty(0, np.uint8)
        self._pending: list[ObjectRef] = []

    def block(self) -> torch.Tensor:
        """Return a new block to fill."""
        self._block = np.empty(self.block_bytes, np.uint8)
        return torch.from_numpy(self._block)

    def commit(self, num_bytes: int) -> None:
        """Put the block into the store; one more is on its way meanwhile, so that they stay in order."""
        reference = ray.put(self._block[:num_bytes])
        self.finish()
        self._pending = [receiver.relay.remote(reference) for receiver in self._receivers]

    def finish(self) -> None:
        """Wait until every sampler has passed on every block."""
        while self._pending:
            done, self._pending = ray.wait(self._pending, timeout=_POLL_S)
            ray.get(done)
            self.check()
