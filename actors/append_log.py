"""An append-only log of JSON rows: one file for each writer, no lock, a row committed once it is synced.

    <folder>/<kind>-<host>-<pid>-<random>.log    "<crc32> <json>" a line

A kill can tear a writer's last lines at most; readers skip what its checksum does not confirm. A writer
that comes back opens a new file, so a torn end is never written over.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class AppendLog:
    """Appends rows of one kind; blocks until they are on disk. One writer, one object."""

    def __init__(self, folder: Path, kind: str):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{kind}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.log"
        self._file = self.path.open("xb")
        _sync_folder(folder)

    def append(self, rows: Iterable[Row]) -> None:
        """Commit rows, all with one sync."""
        self._file.write(b"".join(map(_line, rows)))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_log(folder: Path, kind: str) -> Iterator[Row]:
    """Yield the committed rows of a kind, file by file in the order of their names."""
    for path in sorted(folder.glob(f"{kind}-*.log")):
        with path.open("rb") as lines:
            for line in lines:
                checksum, _, text = line.rstrip(b"\n").partition(b" ")
                if line.endswith(b"\n") and checksum == _checksum(text):
                    yield json.loads(text)


def _line(row: Row) -> bytes:
    text = json.dumps(row, ensure_ascii=False).encode()
    return _checksum(text) + b" " + text + b"\n"


def _checksum(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)


def _sync_folder(folder: Path) -> None:
    """Make a new file's name durable too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
