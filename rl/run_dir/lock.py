"""One process at a time in a folder: the lock is a folder inside it that says who holds it.

    .lock/<token>.json    host, process and time of the holder, who touches the file every few seconds
    .lock-<token>/        an offer that is not the lock yet, or a lock that was taken over from a dead holder

A folder takes its place whole by one rename, which fails while another lock is there: that holds on every file system
that machines share, NFS and Lustre among them. `flock` and `fcntl` do not: some mounts keep them to one machine or
ignore them, they do not say who holds them, and a forked child holds the first while closing any descriptor loses
the second. Of several processes that take over at once one succeeds, since a dead holder's lock has one place to be
moved to, and is not moved onto what is there already.
"""

import errno
import json
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from actors.notice import notify
from actors.store.files import naming
from rl.json_file import read_object
from rl.writable import check_writable

LOCK = ".lock"
TAKEN_OVER = f"{LOCK}-*"
"""Stands in a locked folder whose last process was killed."""
_BEAT_S = 10.0
_SILENT_S = 120.0
"""A holder whose process cannot be looked at, since it is another machine's, is dead when it was silent for so long."""
_MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    host: str
    pid: int
    since: float
    """Seconds since 1970."""
    machine: str
    """Where its number means this process: a boot of a machine, and a namespace of processes there."""
    started: str
    """When it was started, as the kernel counts; of two processes with one number it tells which."""

    def __str__(self) -> str:
        if not self.pid:
            return "a process that its lock does not name: the file there is damaged"
        return f"process {self.pid} on {self.host} since {datetime.fromtimestamp(self.since):%Y-%m-%d %H:%M:%S}"


_UNKNOWN = Holder("an unknown machine", 0, 0.0, "", "")


@contextmanager
def locked(folder: Path, elsewhere: str = "run_dir=...") -> Iterator[None]:
    """Hold a folder's lock; a folder that is not there is made, and goes again if nothing was written into it.

    Raises ValueError that names the process in it. `elsewhere` says how another folder is given.
    """
    check_writable(folder, elsewhere.removesuffix("=..."))
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    owner = os.getpid()
    try:
        token = _acquire(folder, elsewhere)
        heart = _Heart(folder / LOCK / f"{token}.json")
        heart.start()
        try:
            yield
        finally:
            if os.getpid() == owner:  # not in a forked child
                heart.stop()
                _release(folder, token)
    finally:
        with suppress(OSError):  # until one that is not empty
            for path in missing:
                path.rmdir()


def holder_of(folder: Path) -> tuple[Holder, bool] | None:
    """Return who holds a folder's lock and whether that process seems to live; None: nobody does. Nothing is changed.

    A process of another machine is taken to live while its heart beats, as far as the machines' clocks agree.
    """
    held = _held(folder / LOCK)
    if held is None:
        return None
    holder = _read(held)
    is_alive = _is_running(holder)
    if is_alive is None:
        with suppress(OSError):
            is_alive = time.time() - held.stat().st_mtime < _SILENT_S
    return holder, bool(is_alive)


def _acquire(folder: Path, elsewhere: str) -> str:
    """Return the token of the lock that is held now."""
    lock, token = folder / LOCK, uuid.uuid4().hex
    if os.path.lexists(lock) and (lock.is_symlink() or not lock.is_dir()):
        raise ValueError(f"{folder} cannot be locked: {lock} is no folder; if no process is in it, remove {lock}")
    offer = folder / f"{LOCK}-{token}"
    for _ in range(_MAX_ATTEMPTS):
        _make(offer, token)
        try:
            offer.rename(lock)
            return token
        except FileNotFoundError:  # the process that released the lock has tidied up
            continue
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        held = _held(lock)
        if held is None:  # released meanwhile
            continue
        holder = _read(held)
        is_alive = _is_alive(folder, held, holder, offer / f"{token}.json")
        if is_alive:
            shutil.rmtree(offer, ignore_errors=True)
            break
        if is_alive is False:
            with suppress(OSError):  # another was faster
                lock.rename(folder / f"{LOCK}-{held.stem}")
    else:
        shutil.rmtree(offer, ignore_errors=True)
        raise ValueError(f"{folder} cannot be locked; if no process is in it, remove {lock}")
    raise ValueError(
        f"{folder} is in use by {holder}; wait until it ends, stop it, or choose another folder ({elsewhere})"
    )


def _make(offer: Path, token: str) -> None:
    try:
        with naming(offer):
            offer.mkdir(exist_ok=True)
            (offer / f"{token}.json").write_text(json.dumps(asdict(_myself())), encoding="utf-8")
    except OSError:  # a full disk, say
        shutil.rmtree(offer, ignore_errors=True)
        raise


def _held(lock: Path) -> Path | None:
    """Return the file of a lock's holder; None where nobody holds it."""
    with suppress(FileNotFoundError):  # another process moves the folder while its names are read
        return next(lock.glob("*.json"), None)
    return None


def _release(folder: Path, token: str) -> None:
    if (folder / LOCK / f"{token}.json").exists():  # else it was taken over
        with suppress(OSError):
            (folder / LOCK).rename(folder / f"{LOCK}-{token}")
    for rest in folder.glob(TAKEN_OVER):
        shutil.rmtree(rest, ignore_errors=True)


def _is_alive(folder: Path, held: Path, holder: Holder, mine: Path) -> bool | None:
    """Whether a lock's holder lives; where that cannot be looked up, watch its heart until it beats or was silent.

    None: it holds the lock no more.
    """
    if (known := _is_running(holder)) is not None:
        return known
    try:
        last = held.stat().st_mtime_ns
        os.utime(mine)
        # Two times of the file system's own clock: those of machines need not agree.
        left_s = _SILENT_S - (mine.stat().st_mtime_ns - last) / 1e9
        if left_s > 0:
            notify(f"{folder} is held by {holder}; watching for {left_s:.0f} s")
        end = time.monotonic() + left_s
        while time.monotonic() < end:
            time.sleep(min(1.0, _BEAT_S))
            held.read_bytes()  # opening a file asks its server, where a look at its name may be answered from a cache
            if held.stat().st_mtime_ns != last:
                return True
    except FileNotFoundError:  # released, or taken over
        return None
    return False


def _is_running(holder: Holder) -> bool | None:
    """Whether a holder's process runs; None where that cannot be known."""
    if holder.machine != _machine():
        return None
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's: perhaps a later one of the same number
        return None
    return _start_of(holder.pid) == holder.started


def _myself() -> Holder:
    return Holder(socket.gethostname(), os.getpid(), time.time(), _machine(), _start_of(os.getpid()))


def _read(held: Path) -> Holder:
    try:
        said = read_object(held)
        holder = Holder(
            str(said["host"]), int(said["pid"]), float(said["since"]), str(said["machine"]), str(said["started"])
        )
        return holder if 0 < holder.pid < 2**31 and f"{holder}" else _UNKNOWN
    except (OSError, ValueError, TypeError, KeyError, OverflowError):  # torn when its machine went down
        return _UNKNOWN


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # not Linux
        return socket.gethostname()


def _start_of(pid: int) -> str:
    """Return when a process was started, in the kernel's clock ticks; empty where it has ended or that is not told."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in ("Z", "X") else fields[18]


class _Heart(threading.Thread):
    """Touches the lock's file. A lock that is gone means that another process may be in the folder: this one ends."""

    def __init__(self, file: Path):
        super().__init__(name="lock", daemon=True)
        self._file = file
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(_BEAT_S):
            try:
                os.utime(self._file)
            except FileNotFoundError:
                if not self._ended.is_set():
                    notify(f"the lock {self._file.parent} was taken or removed; ending")
                    os.kill(os.getpid(), signal.SIGINT)
                return
            except OSError:  # the file system is away: it may come back
                continue

    def stop(self) -> None:
        self._ended.set()
        self.join()
