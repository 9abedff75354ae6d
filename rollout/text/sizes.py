"""Sizes of files and memory in messages."""

_GIB, _MIB = 2**30, 2**20


def size_told(num_bytes: float) -> str:
    """Return a number of bytes as people read it.

    >>> size_told(17.5 * 2**30), size_told(3 * 2**20), size_told(0)
    ('17.5 GiB', '3.0 MiB', '0.0 MiB')
    """
    return f"{num_bytes / _GIB:,.1f} GiB" if num_bytes >= _GIB else f"{num_bytes / _MIB:,.1f} MiB"
