"""Files that are packed by gzip, as the hub has them: read as they are unpacked, never unpacked into memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GZIP = b"\x1f\x8b"
UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading on raises where a packed file is damaged or cut off."""
_BLOCK = 2**20


@contextmanager
def open_unpacked(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading, what is packed as if it were not; `read1` and `readline` give all up to a damage."""
    with io.BufferedReader(io.FileIO(path), _BLOCK) as file:
        if not is_packed(path):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked:
            yield unpacked


def read_head(path: Path, size: int = _BLOCK) -> bytes:
    """Return the first bytes of a file as it unpacks: so many, or what can be read of them. Raises `UNREADABLE`."""
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
    """Return about how many bytes a file unpacks to: gzip keeps that number, modulo 4 GiB."""
    size = path.stat().st_size
    if size < 18 or not is_packed(path):
        return size
    with path.open("rb") as file:
        file.seek(-4, io.SEEK_END)
        return max(size, int.from_bytes(file.read(), "little"))
