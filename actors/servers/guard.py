"""Runs a command that does not outlive the process that started it: `python guard.py <command>`, first of its group.

Standard input is a pipe whose other end the owner holds: when that closes, however the owner ended, the whole group
is killed. It imports the standard library alone, so that a command can be run in an environment of its own.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence


def die_with_owner() -> None:
    """Wait until standard input closes, then kill the process group."""
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGKILL)


def run(command: Sequence[str]) -> int:
    """Run a command to its end; SIGTERM is passed on to it. Return its exit status."""
    threading.Thread(target=die_with_owner, daemon=True).start()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    return child.wait()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
