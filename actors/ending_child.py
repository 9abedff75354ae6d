"""The process that cleans up behind one that has just ended: `python actors/ending_child.py FOLDERS PID...`.

Another process has to: while Ray starts, a thread of ours may wait for it and let no other run, for ever once Ray's
processes are gone. Nothing but the standard library is imported, so that it is up in no time.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def descendants_of(roots: Iterable[int]) -> list[int]:
    """Return the living processes below some, parents first."""
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
    """Kill processes with all below them; stopped first, so that none starts another meanwhile."""
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
