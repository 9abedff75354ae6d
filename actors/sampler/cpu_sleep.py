"""vLLM's sleep on CPUs, where it has none: weights and key-value cache give their pages back to the system.

Storages stay where they are, as on GPUs, so that whatever points to them is right again after a wake: a page that was
given back reads as zeros and takes memory again once it is written to. Elsewhere than on Linux nothing is given back.
"""

import ctypes
import mmap
import sys
from collections.abc import Iterable
from typing import Any

import torch


def sleep(worker: Any, level: int = 1) -> None:
    """Free the key-value cache of a worker of vLLM and, at level 2, its weights; their values are lost."""
    runner = worker.model_runner
    give_back(runner.kv_caches)
    if level > 1:
        give_back(runner.get_model().parameters())


def wake_up(worker: object, tags: list[str] | None = None) -> None:
    """Nothing has to be done: memory comes back as it is written to."""


def give_back(tensors: Iterable[torch.Tensor]) -> None:
    """Give back the whole pages that the tensors' storages cover; what shares a page with others stays as it is."""
    if sys.platform != "linux":
        return
    system = ctypes.CDLL(None, use_errno=True)
    for storage in {
        storage.data_ptr(): storage for storage in (tensor.untyped_storage() for tensor in tensors)
    }.values():
        begin = -(-storage.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (storage.data_ptr() + storage.nbytes()) // mmap.PAGESIZE * mmap.PAGESIZE
        if end > begin and system.madvise(
            ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), ctypes.c_int(mmap.MADV_DONTNEED)
        ):
            raise OSError(ctypes.get_errno(), "madvise could not free a sampler's memory")
