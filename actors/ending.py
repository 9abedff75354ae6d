"""How a process ends that was told to: in good order within seconds, else by force, and with all that it started."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

GRACE_S = 3.0
"""How long it may take in good order: paid answers arrive, logs are closed, connections get a last word."""

folders: set[str] = set()
"""Temporary folders that go with the process."""
last_words = "interleave: interrupted"
"""What is said if it has to be ended by force."""
_begun = threading.Event()


def is_begun() -> bool:
    """Say whether the process was told to end."""
    return _begun.is_set()


def begin(code: int) -> None:
    """End the process with `code` within seconds; told again, it ends at once. To be called by a signal's handler."""
    if _begun.is_set():
        _force(code)
    _begun.set()
    _hush_libraries()
    timer = threading.Timer(GRACE_S, _force, [code])
    timer.daemon = True
    timer.start()


def leave(code: int) -> NoReturn:
    """End the process now: threads that wait for actors that are gone would hold up an exit in good order."""
    kill_children()
    for folder in list(folders):
        shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def kill_children() -> None:
    """Kill every process that descends from this one."""
    while pids := _descendants():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with suppress(ChildProcessError):  # not our child, or waited for already
                os.waitpid(pid, 0)


def _force(code: int) -> NoReturn:
    print(last_words, file=sys.stderr)
    leave(code)


def _hush_libraries() -> None:
    """Let only Python write to stderr: what Ray's threads say about a cluster that is being stopped helps nobody."""
    with suppress(OSError, ValueError):
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _descendants() -> list[int]:
    """Return the living processes below this one, parents first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]
