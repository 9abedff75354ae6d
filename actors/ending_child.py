"""The process that cleans up after one that has just ended: `python actors/ending_child.py FOLDERS PID...`.

It has to be another process: while Ray starts, a thread that waits for it may hold the GIL, forever once Ray's
processes are gone. It imports only the standard library, to start fast.
"""

import os
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def descendants_of(roots: Iterable[int]) -> list[int]:
    """Return the living descendants of the processes `roots`, parents first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = list(roots)
    num_roots = len(found)
    for pid in found:
        found += children.get(pid, [])
    return found[num_roots:]


def kill(pids: Iterable[int]) -> None:
    """Kill processes with their descendants; all are stopped first, so that none starts another meanwhile."""
    doomed: list[int] = []
    found = list(pids)
    while fresh := [pid for pid in found if pid not in doomed]:
        doomed += fresh
        for pid in fresh:
            _send(pid, signal.SIGSTOP)
        found = descendants_of(doomed)
    for pid in doomed:
        _send(pid, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


if __name__ == "__main__":
    folders, *started = sys.argv[1:]
    kill(map(int, started))
    for folder in filter(None, folders.split("\n")):
        shutil.rmtree(folder, ignore_errors=True)
