"""Who waits for whom: what processes do, and the Python stacks of those that can tell, seen from outside.

An actor that waits in a collective answers no call, so it is asked by a signal: faulthandler writes without the GIL,
into memory that the process holds and another one of its user reads in /proc. No file, nothing to remove.
"""

import asyncio
import contextlib
import faulthandler
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SIGNAL = signal.SIGUSR2
_NAME = "interleave-stacks"
_WAIT_S = 1.0
"""How long a process may take to write: one that is stopped never does."""
_TICKS = os.sysconf("SC_CLK_TCK")
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<name>.+)$')
_COLLECTIVE = re.compile(r"/torch/distributed/(?!tensor/)")
"""In the path of a frame that waits for other ranks; what is below tensor/ computes how tensors are laid out."""
_STATES = {"R": "running", "S": "sleeping", "D": "waiting for a disk", "T": "stopped", "t": "stopped", "Z": "dead"}


@cache
def answer_with_stacks() -> None:
    """Have this process write the stacks of all its threads when it gets SIGUSR2."""
    faulthandler.register(_SIGNAL, os.memfd_create(_NAME), all_threads=True)


@dataclass(frozen=True)
class Seen:
    """A process as its kernel shows it."""

    pid: int
    title: str
    """Its command line; Ray writes the method under way into it."""
    state: str
    """One letter of proc_pid_stat(5); Z: it is gone."""
    cpu_s: float
    """CPU time of all its threads since its start."""
    queued_s: float
    """How long its main thread, since its start, was ready to run and waited for a core: on a busy machine, long."""

    @property
    def is_stopped(self) -> bool:
        return self.state in "Tt"

    def __str__(self) -> str:
        return (
            f"process {self.pid}  {_STATES.get(self.state, self.state)}  {self.cpu_s:.1f} s of CPU time  {self.title}"
        )


def look_at(pid: int) -> Seen:
    """Return how a process of this machine is."""
    try:
        cells = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return Seen(pid, "", "Z", 0.0, 0.0)
    cpu_s = (int(cells[11]) + int(cells[12])) / _TICKS
    return Seen(pid, " ".join(title.split())[:120], cells[0], cpu_s, _queued_s(pid))


def _queued_s(pid: int) -> float:
    """Return 0 where the kernel does not count it (Documentation/scheduler/sched-stats)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def busy_s(pid: int) -> float:
    """Return for how long threads of a process have computed, or were ready to and waited for a core; 0: it is gone."""
    found = 0.0
    for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError):
            found += sum(map(int, thread.read_text().split()[:2])) / 1e9
    return found


def stacks_of(pid: int, wait_s: float = _WAIT_S) -> str:
    """Return the stacks of a process's threads, innermost frame first; '' if it does not answer in `wait_s` seconds."""
    with contextlib.suppress(OSError):
        if (memory := _memory_of(pid)) is not None and not look_at(pid).is_stopped:
            before = memory.stat().st_size
            os.kill(pid, _SIGNAL)
            return _settled(memory, before, wait_s)
    return ""


def waits_in(stacks: str) -> str:
    """Return where a process waits: in a collective, if a thread does; else where its last thread, the main one, is.

    >>> waits_in('Thread 1:\\n  File "/lib/torch/distributed/c10d.py", line 7 in all_reduce\\n')
    'all_reduce (c10d.py:7)'
    """
    innermost = [_FRAME.match(thread.partition("\n")[2].partition("\n")[0]) for thread in _threads(stacks)]
    found = [frame for frame in innermost if frame is not None]
    chosen = next((frame for frame in found if _COLLECTIVE.search(frame["file"])), found[-1] if found else None)
    return f"{chosen['name']} ({Path(chosen['file']).name}:{chosen['line']})" if chosen else ""


def collective_of(stacks: str) -> str:
    """Return the stack of the thread of a process that waits inside torch.distributed; '' if none does."""
    innermost = {thread: thread.partition("\n")[2].partition("\n")[0] for thread in _threads(stacks)}
    return next((thread for thread, frame in innermost.items() if _COLLECTIVE.search(frame)), "")


def report(pids: Iterable[int]) -> str:
    """Return a line for each process of this machine, with where it waits, and then the stacks of each."""
    seen = [look_at(pid) for pid in pids]
    told = {one.pid: stacks_of(one.pid) for one in seen if one.state != "Z"}
    lines = [f"{one}  {waits_in(told.get(one.pid, ''))}".rstrip() for one in seen]
    return "\n".join([*lines, *(f"\n{look_at(pid)}\n{stacks}" for pid, stacks in told.items() if stacks)])


def own_report(loop: asyncio.AbstractEventLoop) -> str:
    """Return the stacks of this process's threads, and where the tasks of its loop wait. Thread-safe."""
    with tempfile.TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        threads = file.read()
    tasks = [f"{task.get_name()}: {_chain(task)}" for task in asyncio.all_tasks(loop)]
    return "\n".join([f"this process, {os.getpid()}", threads, *tasks])


def _chain(task: "asyncio.Task[object]") -> str:
    """Return where the coroutines of a task wait, outermost first."""
    names: list[str] = []
    waiting: object = task.get_coro()
    while (frame := getattr(waiting, "cr_frame", None)) is not None:
        names.append(f"{frame.f_code.co_qualname} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})")
        waiting = getattr(waiting, "cr_await", None)
    return " > ".join(names) or "ended"


def _memory_of(pid: int) -> Path | None:
    links = Path(f"/proc/{pid}/fd").iterdir()
    return next((link for link in links if os.readlink(link).startswith(f"/memfd:{_NAME}")), None)


def _settled(memory: Path, before: int, wait_s: float) -> str:
    """Return what is written into the memory beyond `before` bytes, once it grows no more."""
    give_up, size = time.monotonic() + wait_s, before
    while time.monotonic() < give_up:
        time.sleep(0.02)
        last, size = size, memory.stat().st_size
        if size > before and size == last:
            break
    return memory.read_bytes()[before:].decode(errors="replace")


def _threads(stacks: str) -> list[str]:
    return [thread for thread in re.split(r"\n(?=(?:Current t|T)hread )", stacks.strip()) if thread]
