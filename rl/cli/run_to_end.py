"""How a command's work ends that does not come to its end: by one line for its user, or by a traceback for us."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from actors import ending
from actors.losses.lost import ComponentLost
from rl import preemption
from rollout.roles import RunStopped

Outcome = TypeVar("Outcome")
INTERRUPTED, TERMINATED = 130, 143
"""Exit codes of a command that was ended by SIGINT (Ctrl-C) or SIGTERM, as shells have them."""


@contextmanager
def leaving_when_terminated(code: int) -> Iterator[None]:
    """Have SIGTERM end the process with a code while nothing runs yet that has to be ended first."""

    def leave(number: int, frame: object) -> None:
        print("interleave: ended before anything was started", file=sys.stderr)
        sys.exit(code)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_async(work: Coroutine[object, object, Outcome], terminated: int = TERMINATED) -> Outcome:
    """Run the work of a command; Ctrl-C cancels it, and from then on the process has seconds to end.

    So does SIGTERM, with the code `terminated`, unless a training loop runs: that saves first; a second one ends the
    process at once. So does the end of the terminal (SIGHUP), unless `nohup` keeps it away. Raises KeyboardInterrupt
    when it was ended, `Preempted` when it was saved. Threads that still wait for actors are left to `ending.leave`.
    """

    is_saving = False

    async def interruptible() -> Outcome:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def interrupt(number: int, frame: object) -> None:
            nonlocal is_saving
            if number == signal.SIGHUP:
                write_nowhere(terminals)
                if is_saving or ending.is_begun():  # the kernel and the shell both tell that a terminal is closed
                    return
            if number != signal.SIGINT and not is_saving and preemption.ask():
                is_saving, ending.code_of_loss = True, terminated
                return
            code = INTERRUPTED if number == signal.SIGINT else terminated
            ending.begin(code)
            if number == signal.SIGTERM and is_saving:
                ending.begin(code)  # at once
            loop.call_soon_threadsafe(task.cancel)

        for number in before:
            signal.signal(number, interrupt)
        return await work

    ending.watch()
    terminals = [number for number in (1, 2) if os.isatty(number)]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] == signal.SIG_IGN:
        del before[signal.SIGHUP]
    runner = asyncio.Runner()
    try:
        return runner.run(interruptible())
    except ComponentLost as loss:
        if is_saving:  # whoever told this process to go may have told Ray's processes, too
            raise preemption.LostWhilePreempted(loss) from loss
        raise
    except preemption.Preempted:
        raise
    except BaseException as error:
        if ending.is_begun():  # whatever it is: it came of being interrupted
            raise KeyboardInterrupt from error
        raise
    finally:
        if not ending.is_begun():
            runner.close()
            for number, handler in before.items():
                signal.signal(number, handler)


def write_nowhere(descriptors: Iterable[int]) -> None:
    """Throw away what is written to a terminal that is gone, where each line would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)


def run_to_end(work: Coroutine[object, object, Outcome]) -> Outcome:
    """Run what was checked before. Raises `RunStopped` for what ends a run in good order, `BudgetSpent` among others.

    Any other ValueError or OSError is not the user's input any more: it becomes a RuntimeError.
    """
    from data.errors import RecordError
    from rl.sft.examples import UnusableRecord

    try:
        return run_async(work, terminated=preemption.EXIT_CODE)
    except (RecordError, UnusableRecord) as error:
        raise RunStopped(str(error)) from error
    except (ValueError, OSError) as error:
        raise RuntimeError("the run broke") from error
