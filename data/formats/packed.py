"""Files compressed with gzip, as on the hub: decompressed while they are read, never as a whole."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GZIP = b"\x1f\x8b"
UNREADABLE = (OSError, EOFError, zlib.error)
"""Raised while reading a compressed file that is damaged or truncated."""
_BLOCK = 2**20


@contextmanager
def open_unpacked(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading, decompressed if needed; `read1` and `readline` return all data before any damage."""
    with io.BufferedReader(io.FileIO(path), _BLOCK) as file:
        if not is_packed(path):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked


def read_head(path: Path, size: int = _BLOCK) -> bytes:
    """Return the first `size` decompressed bytes of a file, or what can be read. Raises `UNREADABLE` if none can."""
    head = b""
    try:
        with open_unpacked(path) as file:
            while len(head) < size and (data := file.read1(size)):
                head += data
    except UNREADABLE:
        if not head:
            raise
    return head[:size]


def is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def unpacked_size(path: Path) -> int:
    """Return roughly how many bytes a file decompresses to: gzip stores that number modulo 4 GiB."""
    size = path.stat().st_size
    if size < 18 or not is_packed(path):  # 18: a gzip file's header and trailer
        return size
    with path.open("rb") as file:
        file.seek(-4, io.SEEK_END)
        return max(size, int.from_bytes(file.read(), "little"))
