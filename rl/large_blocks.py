"""Memory goes back to the system: large blocks as soon as they are freed, the rest when a step is over."""

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3
_SMALLEST = 1 << 17
"""Bytes: glibc's own default, at first."""


def return_large_blocks() -> None:
    """Have the C library map each large block by itself, always; without glibc nothing changes.

    By default glibc raises its threshold with each large block that is freed, up to 32 MiB: from the second step on,
    the matrices that advantages are computed in would be cut from the heap, and stay in it behind what was allocated
    after them.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _SMALLEST)


def return_freed_blocks() -> None:
    """Hand back all pages of freed blocks, which takes milliseconds; without glibc nothing changes.

    By default glibc keeps them for what is allocated next, in as many heaps as there are threads.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
