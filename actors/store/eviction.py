"""Keeps a store within its size limit: removes the least recently used files, and what dead writers left behind.

What a living run has written or used since its start is never removed. Runs that share a store know of each other
through a file each:

    <root>/runs/<host>-<pid>-<random>    when the run began; touched as long as it is alive
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from actors.store.files import FRESH_S, temporary_name, writer_of

PERIOD_S = 300.0
"""Time between two checks of the size."""
AIM = 0.9
"""A store that is too large is reduced to this share of its limit, so that not every check has to remove files."""
CLOCKS_S = 600.0
"""How far apart the clocks of nodes and file servers may be."""
_STALE_S = 24 * 3600.0
_GIB = 2**30


class _File(NamedTuple):
    used: float
    size: int
    path: str


class StoreKeeper:
    """Maintains a store from a background thread in one process of a run; a context manager."""

    def __init__(self, root: Path, limit_gib: float, run_start: float, *, period_s: float = PERIOD_S):
        """`limit_gib=0`: no limit. `run_start` is when this attempt at the run began, even in a restarted process."""
        self._root = root
        self._limit = int(limit_gib * _GIB)
        self._run_start = run_start
        self._period_s = period_s
        self._sign = root / "runs" / temporary_name().strip(".").removesuffix(".part")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="store keeper", daemon=True)

    def start(self) -> None:
        self._sign.parent.mkdir(parents=True, exist_ok=True)
        self._sign.write_text(repr(self._run_start))
        self._thread.start()

    def _renew_sign(self) -> None:
        """Mark the run as alive, even after a pause so long that another keeper took it for dead."""
        try:
            os.utime(self._sign)
        except FileNotFoundError:
            self._sign.write_text(repr(self._run_start))

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._sign.unlink(missing_ok=True)

    def __enter__(self) -> StoreKeeper:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _keep(self) -> None:
        with suppress(OSError):
            clean(self._root)
        is_due = True
        while is_due:
            with suppress(OSError):  # e.g. a file server is down for a while; the next check is soon enough
                self._renew_sign()
                if self._limit:
                    trim(self._root, self._limit, run_start=oldest_run(self._root, self._period_s))
            is_due = not self._stopped.wait(self._period_s)


def oldest_run(root: Path, period_s: float = PERIOD_S) -> float:
    """Return when the oldest living run began; forget dead ones."""
    starts = [time.time()]
    for sign in (root / "runs").iterdir():
        with suppress(FileNotFoundError, ValueError):  # the run has just ended, or the file is being written
            if sign.stat().st_mtime < time.time() - 4 * period_s - CLOCKS_S:
                sign.unlink()
            else:
                starts.append(float(sign.read_text()))
    return min(starts)


def trim(root: Path, limit: int, *, run_start: float) -> int:
    """Reduce a store above `limit` bytes to `AIM` of it, as far as allowed; return how many files were removed."""
    # A file that was fresh at the run's start may have been used since without a new mark.
    unused_since = run_start - FRESH_S - CLOCKS_S
    size, old = 0, []
    for file in _files(root):
        size += file.size
        if file.used < unused_since:
            old.append(file)
    if size <= limit:
        return 0
    num_removed = 0
    for file in sorted(old):
        if size <= AIM * limit:
            break
        if _remove(Path(file.path), unused_since):
            size -= file.size
            num_removed += 1
    return num_removed


def clean(root: Path, *, min_age_s: float = 60.0) -> int:
    """Remove files left behind by writers killed on this host, or long ago on any; return how many."""
    num_removed = 0
    for entry in _entries(root):
        with suppress(FileNotFoundError):  # it was renamed, or another keeper was faster
            if writer_of(entry.name) and is_left_behind(entry.name, entry.stat().st_mtime, min_age_s=min_age_s):
                os.unlink(entry.path)
                num_removed += 1
    return num_removed


def is_left_behind(name: str, modified: float, *, min_age_s: float = 60.0) -> bool:
    """Whether a file is a temporary one whose writer is gone."""
    writer, age = writer_of(name), time.time() - modified
    if writer is None:
        return False
    host, pid = writer
    return age > _STALE_S or (age >= min_age_s and host == socket.gethostname() and not _is_alive(pid))


def _remove(path: Path, unused_since: float) -> bool:
    """Remove a file unless it is being used right now: rename it first, then check its time again."""
    aside = path.parent / temporary_name()
    with suppress(FileNotFoundError):  # another keeper was faster
        os.rename(path, aside)
        if aside.stat().st_mtime >= unused_since:
            os.replace(aside, path)
            return False
        aside.unlink()
        return True
    return False


def _files(root: Path) -> Iterator[_File]:
    for entry in _entries(root):
        if writer_of(entry.name) is None:
            with suppress(FileNotFoundError):
                status = entry.stat()
                yield _File(status.st_mtime, status.st_blocks * 512, entry.path)


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the files of all images and calls."""
    for shard in sorted([*root.glob("images/*"), *root.glob("calls/*")]):
        if shard.is_dir():
            with os.scandir(shard) as entries:
                yield from (entry for entry in entries if entry.is_file(follow_symlinks=False))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
