"""How a command's work ends that does not come to its end: by one line for its user, or by a traceback for us."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

from actors import ending
from rollout.roles import RunStopped

Outcome = TypeVar("Outcome")
INTERRUPTED = 130
"""Exit code of an interrupted command, as shells have it."""


def run_async(work: Coroutine[object, object, Outcome]) -> Outcome:
    """Run the work of a command; Ctrl-C cancels it, and from then on the process has seconds to end.

    Raises KeyboardInterrupt when it was interrupted. Threads that still wait for actors are left to `ending.leave`.
    """

    async def interruptible() -> Outcome:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def interrupt(number: int, frame: object) -> None:
            ending.begin(INTERRUPTED)
            loop.call_soon_threadsafe(task.cancel)

        signal.signal(signal.SIGINT, interrupt)
        return await work

    ending.watch()
    before, runner = signal.getsignal(signal.SIGINT), asyncio.Runner()
    try:
        return runner.run(interruptible())
    except BaseException as error:
        if ending.is_begun():  # whatever it is: it came of being interrupted
            raise KeyboardInterrupt from error
        raise
    finally:
        if not ending.is_begun():
            runner.close()
            signal.signal(signal.SIGINT, before)


def run_to_end(work: Coroutine[object, object, Outcome]) -> Outcome:
    """Run what was checked before. Raises `RunStopped` for what ends a run in good order, `BudgetSpent` among others.

    Any other ValueError or OSError is not the user's input any more: it becomes a RuntimeError.
    """
    from data.errors import RecordError
    from rl.sft.examples import UnusableRecord

    try:
        return run_async(work)
    except (RecordError, UnusableRecord) as error:
        raise RunStopped(str(error)) from error
    except (ValueError, OSError) as error:
        raise RuntimeError("the run broke") from error
