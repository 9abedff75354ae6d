"""SIGTERM, as schedulers send it before they take a machine away: what was learned is saved, then the process leaves.

A training loop looks for it where it waits for what the next step learns from: a step that has begun is finished, as
half of one cannot be saved.
"""

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any, Generic, TypeVar

EXIT_CODE = os.EX_TEMPFAIL
"""75: the same command goes on. Schedulers can be told to start a job again that ends so."""

Step = TypeVar("Step", bound=tuple[int, *tuple[object, ...]])
"""A step's number, and what it learns from."""
_running: "Preemptible[Any] | None" = None


class Preempted(Exception):
    """The process was asked to end after a step of training, and the next one was not begun."""

    def __init__(self, step: int):
        done = f"step {step} is saved" if step else "no step was learned since the start"
        super().__init__(f"preempted; {done}")
        self.step = step
        """The last one that was taken since the start; 0: none was."""


class LostWhilePreempted(Preempted):
    """Whoever asked the process to end took away what it runs on, too: what is saved is what was saved before."""

    def __init__(self, loss: Exception):
        Exception.__init__(self, f"preempted; at the same time {loss}")
        self.step = 0


class Preemptible(Generic[Step]):
    """Yields the steps of a stream until the process is asked to end; then raises `Preempted`."""

    def __init__(self, stream: AsyncIterable[Step]):
        self._steps: AsyncIterator[Step] = aiter(stream)
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Task[Step] | None = None
        self._last = 0
        self._is_asked = False

    def __aiter__(self) -> "Preemptible[Step]":
        global _running
        _running = self
        return self

    async def __anext__(self) -> Step:
        global _running
        if self._is_asked:
            raise Preempted(self._last)
        self._waiting = asyncio.create_task(self._next())
        try:
            step = await self._waiting
        except asyncio.CancelledError:
            if self._is_asked and self._waiting.cancelled():
                raise Preempted(self._last) from None
            raise
        except BaseException:  # the end of the steps, too: from now on there is nothing that would be lost
            _running = None
            raise
        finally:
            self._waiting = None  # it would keep the step's groups
        self._last = step[0]
        return step

    async def _next(self) -> Step:
        return await anext(self._steps)

    def ask(self) -> bool:
        """Ask for the end; return False if that was done before. Safe in a signal handler."""
        if self._is_asked:
            return False
        self._is_asked = True
        self._loop.call_soon_threadsafe(self._stop_waiting)
        return True

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


def ask() -> bool:
    """Ask the training loop of this process to end; False: none runs that has not been asked yet."""
    return _running is not None and _running.ask()
