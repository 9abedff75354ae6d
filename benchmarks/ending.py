"""How a benchmark ends that is told to: with the processes that it started, as by Ctrl-C."""

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from actors.ending_child import descendants_of, kill

GRACE_S = 10.0
"""How long processes have that got a SIGINT: a training takes about three seconds."""


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run a benchmark and end with its exit code; SIGTERM, or SIGHUP, ends it and all that it started.

    It does as Ctrl-C, which a terminal sends to each process of the group, and waits for these; what then is left of
    others, after the benchmark's own clearing up, is killed.
    """
    ended: list[int] = []

    def end(number: int, frame: object) -> None:
        ended.append(number)
        _interrupt_group()
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup` keeps it away
            signal.signal(number, end)
    try:
        sys.exit(main())
    finally:
        if ended:
            kill(descendants_of([os.getpid()]))


def _interrupt_group() -> None:
    """Send SIGINT to the processes below this one in its group, and wait for their end."""
    asked = []
    for pid in descendants_of([os.getpid()]):
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == os.getpgrp():
                os.kill(pid, signal.SIGINT)
                asked.append(pid)
    give_up = time.monotonic() + GRACE_S
    while not set(asked).isdisjoint(descendants_of([os.getpid()])) and time.monotonic() < give_up:
        time.sleep(0.05)
