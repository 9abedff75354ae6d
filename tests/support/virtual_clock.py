"""An event loop whose clock jumps to whatever is due next: what sleeps for hours is over at once."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class _Inline(ThreadPoolExecutor):
    """Runs what it is given at once: with threads, the clock would not know whether there is something to wait for."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Jumping(selectors.DefaultSelector):
    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> Any:
        events = super().select(0)
        if not events:
            assert timeout is not None, "everything waits, and nothing is due"
            self.loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """`asyncio.to_thread` runs in the loop's own thread."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)
        self.set_default_executor(_Inline(max_workers=1))

    def time(self) -> float:
        return self.now


def run_virtually(work: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine to its end on a clock that starts at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)
