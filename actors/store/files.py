"""Files of a store and a ledger: they appear whole, and their modification time says when they were last used."""

import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FRESH_S = 600.0
"""A file that was used less than this ago is not marked as used again."""
_TEMPORARY = re.compile(r"\.(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}\.part")


def read_used(path: Path) -> bytes:
    """Return a file's content and mark it as used now. Raises FileNotFoundError."""
    with path.open("rb") as file:
        _mark(file.fileno(), os.fstat(file.fileno()).st_mtime)
        return file.read()


def mark_used(path: Path) -> bool:
    """Return whether the file exists; if so, mark it as used now."""
    try:
        _mark(path, path.stat().st_mtime)
    except FileNotFoundError:
        return False
    return True


def _mark(file: Path | int, used: float) -> None:
    if used < time.time() - FRESH_S:
        with suppress(PermissionError):  # another user's store: it can be read, but keeps its own times
            os.utime(file)


def temporary_name() -> str:
    """Return a name that no other writer on any node uses; `writer_of` parses it."""
    return f".{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part"


def writer_of(name: str) -> tuple[str, int] | None:
    """Return host and process of a temporary file's writer; None for any other file.

    >>> writer_of(".node-7-1234-0123abcd.part")
    ('node-7', 1234)
    """
    match = _TEMPORARY.fullmatch(name)
    return (match["host"], int(match["pid"])) if match else None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have an OSError say which file it is of: one of a full disk does not by itself."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else its text would be lost
            error.filename = error.filename or str(path)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, all of it or nothing, even with concurrent writers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / temporary_name()
    try:
        with naming(path), temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; a no-op if the file system cannot sync a folder."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems refuse it and do not need it
    finally:
        os.close(handle)
