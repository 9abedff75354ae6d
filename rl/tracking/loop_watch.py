"""Which callbacks of the event loop compute for too long: everything else on the loop waits for them.

Waiting costs the others nothing, so what is measured is the thread's CPU time. What is heavy belongs in
`asyncio.to_thread`. Watching costs each callback about two microseconds: cheap enough for every run.
"""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 0.05
"""CPU time of one callback that is too long."""
LONG_MS = 1000.0
"""Of the longest callback of a run that its last lines name: rollouts and weights waited for it."""
_NAMED_S = 0.005
"""Callbacks below this are not told apart: finding a name takes time, too."""


@dataclass(frozen=True, slots=True)
class SlowCallback:
    """A callback and the longest CPU time that it took."""

    name: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds * 1e3:.0f} ms in {self.name}"


class LoopWatch:
    """CPU time of the callbacks of one loop, since its start and since the last `take`."""

    def __init__(self) -> None:
        self._longest: dict[str, float] = {}
        self._longest_of_all: dict[str, float] = {}
        self._max_s = self._max_of_all_s = self._total_s = 0.0

    def record(self, seconds: float, handle: asyncio.Handle) -> None:
        """Take in one callback that has run."""
        self._total_s += seconds
        if seconds > self._max_s:
            self._max_s = seconds
            self._max_of_all_s = max(seconds, self._max_of_all_s)
        if seconds > _NAMED_S:
            name = _name(handle)
            for longest in (self._longest, self._longest_of_all):
                longest[name] = max(seconds, longest.get(name, 0.0))

    def take(self) -> tuple[dict[str, float], list[SlowCallback]]:
        """Return metrics keyed `driver/...` and the callbacks beyond the limit, slowest first, since the last time."""
        metrics = {"driver/max_callback_ms": self._max_s * 1e3, "driver/loop_cpu_seconds": self._total_s}
        slow = [callback for callback in _sorted(self._longest) if callback.seconds > LIMIT_S]
        self._longest, self._max_s, self._total_s = {}, 0.0, 0.0
        return metrics, slow

    def __str__(self) -> str:
        slowest = f": {self.slowest(1)[0].name}" if self._longest_of_all else ""
        return f"longest callback on the driver's loop {self.max_ms:.0f} ms of CPU time{slowest}"

    @property
    def max_ms(self) -> float:
        """The longest CPU time of all, in milliseconds."""
        return self._max_of_all_s * 1e3

    def slowest(self, num: int = 5) -> list[SlowCallback]:
        """Return the slowest callbacks of all above a few milliseconds, whatever the limit."""
        return _sorted(self._longest_of_all)[:num]


@asynccontextmanager
async def watch_loop() -> AsyncIterator[LoopWatch]:
    """Watch the running loop until exit.

    Meanwhile the garbage collector leaves alone all that was there before: a walk over everything that a whole
    stack imports takes longer than any callback may, and finds nothing.
    """
    watch, loop = LoopWatch(), asyncio.get_running_loop()
    await asyncio.to_thread(_freeze)
    handles: Any = asyncio.Handle
    original = handles._run
    # asyncio has no hook for this; its debug mode counts waiting, too.
    handles._run = _watched(original, loop, watch)
    try:
        yield watch
    finally:
        handles._run = original
        gc.unfreeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


def _watched(
    original: Callable[[object], None], loop: asyncio.AbstractEventLoop, watch: LoopWatch
) -> Callable[[object], None]:
    clock = time.thread_time

    def run(handle: Any) -> None:
        if handle._loop is not loop:
            return original(handle)
        began = clock()
        try:
            return original(handle)
        finally:
            watch.record(clock() - began, handle)

    return run


def _sorted(longest: dict[str, float]) -> list[SlowCallback]:
    return sorted((SlowCallback(*item) for item in longest.items()), key=lambda callback: -callback.seconds)


def _name(handle: Any) -> str:
    """Return what a callback is: its function, or its task's coroutines with the line where they wait by now."""
    callback = handle._callback
    task = getattr(callback, "__self__", None)
    if not isinstance(task, asyncio.Task):
        return str(getattr(callback, "__qualname__", callback))
    coroutine: Any = task.get_coro()
    first, names, where = coroutine.__qualname__, [], "which ended"
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        path = Path(frame.f_code.co_filename)
        if path.parent.name != "asyncio":  # its `sleep` and `gather` are no news
            names.append(coroutine.__qualname__)
            where = f"which now waits at {path.name}:{frame.f_lineno}"
        coroutine = coroutine.cr_await
    return f"{' > '.join(names) or first}, {where}"
