"""Blocks in memory that two processes share: a node's, or a GPU's (CUDA IPC).

A few small blocks go round: on CPU they stay in the cache of the cores, so that what a receiver reads it does not read
from memory. The memory has no name: it is gone with the last process that has it open, however that ends.
"""

import mmap
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import torch

from actors.weights.blocks import TransferError, is_last

_SLOTS = 3
_HEAD = 4096
_COMMITTED, _IS_CLOSED, _FIRST_READER = 0, 1, 2
_MAX_READERS = _HEAD // 8 - _FIRST_READER
_POLL_S = 2e-5
_CHECK_S = 0.2
STALL_S = 300.0
"""Seconds without a block after which a receiver takes the sender for lost: gathering a tensor may take some."""


@dataclass(frozen=True)
class RingEnd:
    """A receiver's end; `open` is called in the receiver's process."""

    path: str
    block_bytes: int
    reader: int
    taken: int
    """Blocks that are not for this transfer."""
    gpu_memory: tuple[Callable[..., torch.Tensor], tuple[object, ...]] | None = None
    """How CUDA opens the blocks (`torch.multiprocessing.reductions`); None: they are in the shared file."""

    def open(self) -> Generator[torch.Tensor, None, None]:
        """Yield blocks up to the last one; each may be overwritten as soon as the next one is asked for."""
        try:
            file = os.open(self.path, os.O_RDWR)
        except OSError as error:
            raise TransferError("the sender broke off") from error
        memory = _Memory(file, _HEAD + (0 if self.gpu_memory else _SLOTS * self.block_bytes))
        blocks = memory.data if self.gpu_memory is None else _opened(*self.gpu_memory)
        taken, last = self.taken, time.monotonic()
        while True:
            if memory.head[_COMMITTED] > taken:
                first = taken % _SLOTS * self.block_bytes
                block = blocks[first : first + self.block_bytes]
                is_over = is_last(block)
                yield block
                if blocks.is_cuda:
                    torch.cuda.synchronize(blocks.device)
                taken += 1
                memory.head[_FIRST_READER + self.reader] = taken
                if is_over:
                    return
                last = time.monotonic()
            elif memory.head[_IS_CLOSED]:
                raise TransferError("the sender broke off")
            elif time.monotonic() - last > STALL_S:
                raise TransferError(f"the sender sent nothing for {STALL_S:.0f} s")
            else:
                time.sleep(_POLL_S)

    def give_up(self) -> None:
        """Nothing keeps the sender: it asks whether receivers have failed."""


class Ring:
    """The sender's end (`actors.weights.blocks.Channel`), for any number of transfers."""

    def __init__(self, block_bytes: int, num_readers: int, device: torch.device):
        assert num_readers <= _MAX_READERS
        self.device = device
        self.name = "cuda_ipc" if device.type == "cuda" else "shared_memory"
        self.check: Callable[[], None] = lambda: None
        """Called while receivers are waited for; raises if one is lost."""
        self.block_bytes, self._num_readers = block_bytes, num_readers
        self._file = os.memfd_create("interleave-weights")
        size = _HEAD if device.type == "cuda" else _HEAD + _SLOTS * block_bytes
        os.ftruncate(self._file, size)
        self._memory = _Memory(os.dup(self._file), size)
        self._blocks = self._memory.data
        if device.type == "cuda":
            self._blocks = torch.empty(_SLOTS * block_bytes, dtype=torch.uint8, device=device)
        self._committed = 0

    def ends(self) -> list[RingEnd]:
        """Return one end for each receiver, for one transfer."""
        gpu_memory = None
        if self._blocks.is_cuda:
            from torch.multiprocessing.reductions import reduce_tensor

            gpu_memory = reduce_tensor(self._blocks)
        path = f"/proc/{os.getpid()}/fd/{self._file}"
        readers, taken = range(self._num_readers), self._committed
        return [RingEnd(path, self.block_bytes, reader, taken, gpu_memory) for reader in readers]

    def block(self) -> torch.Tensor:
        """Return the next block to fill, once all have read what was in it."""
        self._wait_for(self._committed - _SLOTS + 1)
        first = self._committed % _SLOTS * self.block_bytes
        return self._blocks[first : first + self.block_bytes]

    def commit(self, num_bytes: int) -> None:
        """Let receivers read the block."""
        if self._blocks.is_cuda:
            torch.cuda.synchronize(self.device)
        self._committed += 1
        self._memory.head[_COMMITTED] = self._committed

    def finish(self) -> None:
        """Wait until every receiver has read every block."""
        self._wait_for(self._committed)

    def close(self) -> None:
        """Tell receivers that nothing more comes."""
        self._memory.head[_IS_CLOSED] = 1
        os.close(self._file)

    def _wait_for(self, number: int) -> None:
        readers = self._memory.head[_FIRST_READER : _FIRST_READER + self._num_readers]
        checked = time.monotonic()
        while readers.min(initial=self._committed) < number:
            time.sleep(_POLL_S)
            if time.monotonic() - checked > _CHECK_S:
                self.check()
                checked = time.monotonic()


class _Memory:
    """A mapped file: counters, then blocks."""

    def __init__(self, file: int, size: int):
        mapped = mmap.mmap(file, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)  # else each page costs a fault of its own
        os.close(file)
        self.head = np.frombuffer(mapped, np.int64, _HEAD // 8)
        self.data = torch.frombuffer(mapped, dtype=torch.uint8)[_HEAD:]


def _opened(rebuild: Callable[..., torch.Tensor], arguments: tuple[object, ...]) -> torch.Tensor:
    """Open another process's memory on this process's GPU, whatever number it has there."""
    changed = list(arguments)
    changed[6] = torch.cuda.current_device()
    return rebuild(*changed)
