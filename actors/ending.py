"""How a process ends when told to: cleanly within seconds, else by force, with every process it started."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from typing import NoReturn

from actors import ending_child

GRACE_S = 3.0
"""How long a clean end may take: paid answers arrive, logs are closed, connections get a last word."""
folders: set[str] = set()
"""Temporary folders that are removed with the process."""
last_words = "interleave: interrupted"
"""Printed if the process has to be ended by force."""
code_of_loss = 1
"""What the process ends with if it loses its Ray; another one if the signal that ended Ray told it to save and go."""
_code: int | None = None
_told_reader, _told_writer = os.pipe()


def code() -> int | None:
    """Return the exit code that the process was told to end with; None: it was not."""
    return _code


def is_begun() -> bool:
    """Whether the process was told to end."""
    return _code is not None


@cache
def watch() -> None:
    """Start the thread that ends the process by force, ahead of `begin`, which may interrupt another thread's start."""
    threading.Thread(target=_force_in_time, daemon=True).start()


def begin(code: int) -> None:
    """End the process with `code` within seconds; a second call ends it at once. Safe in a signal handler."""
    global _code
    if _code is not None:
        _force(code)
    _code = code
    _hush_libraries()
    os.write(_told_writer, bytes([code]))


def leave(code: int) -> NoReturn:
    """End the process now: threads that wait for dead actors would hold up a clean exit."""
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    command = [sys.executable, "-I", "-S", ending_child.__file__, "\n".join(folders)]
    subprocess.Popen([*command, *map(str, ending_child.descendants_of([os.getpid()]))], start_new_session=True)
    os._exit(code)


def _force_in_time() -> None:
    code = os.read(_told_reader, 1)[0]
    time.sleep(GRACE_S)
    _force(code)


def _force(code: int) -> NoReturn:
    print(last_words, file=sys.stderr)
    leave(code)


def _hush_libraries() -> None:
    """Let only Python write to stderr: what Ray's threads log while a cluster is stopped is of no use."""
    with suppress(OSError, ValueError):
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
