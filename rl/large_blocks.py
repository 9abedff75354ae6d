"""Large blocks of memory go back to the system as soon as they are freed."""

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
