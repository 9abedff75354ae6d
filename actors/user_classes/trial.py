"""A replica of the user's code, asked in a process of its own before anything starts: what is wrong is said at once.

The replica is the one that a run would have, with its `load()`, in a store that is gone afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from actors.user_classes.classes import UserClass
from actors.user_functions.child import die_with
from actors.user_functions.process import cause_of, child_environment
from rewards.compose import said

if TYPE_CHECKING:
    from actors.user_classes.replica import Answer, UserReplica

TIMEOUT_S = 60.0
"""What is patient enough: a replica may load a model."""


class Replica(Protocol):
    """What answers a pool's requests."""

    def __call__(self, request: Any) -> Awaitable[object]:
        """Return an answer, or the `actors.metered.retry.Fault` that says why there is none."""
        ...


Make = Callable[[str], Replica]
"""Returns a replica with the store at a path. Picklable, and imports what loads slowly when it is called."""


@dataclass(frozen=True)
class Code:
    """Code that a section of a recipe names."""

    key: str
    """The section's key that names it."""
    path: str
    make: Make


def code_of_class(own: UserClass, answer: Answer) -> Code:
    """Return the class that a section's `kind` names; `answer` puts a request to an object of it."""
    return Code("kind", own.path, partial(make_replica, own.anchored(), answer))


def make_replica(own: UserClass, answer: Answer, store_root: str) -> UserReplica:
    """Return a replica of a class with the store at a path."""
    from actors.user_classes.replica import UserReplica  # late: it imports Ray

    return UserReplica(own, answer, store_root)


@dataclass(frozen=True)
class Wrong:
    """Why there is no answer."""

    kind: str
    error: str


class NotMadeError(Exception):
    """The replica cannot be made; says why in one line."""


def ask_in_child(make: Make, requests: Sequence[object], timeout_s: float) -> list[Wrong | None]:
    """Return what is wrong with each answer, None where nothing is. Blocks; kills what does not end.

    Raises `NotMadeError`, and TimeoutError when the time is up.
    """
    with tempfile.TemporaryDirectory(prefix="interleave-trial-") as folder:
        given, told = Path(folder, "given"), Path(folder, "told")
        given.write_bytes(pickle.dumps((make, list(requests))))
        command = [sys.executable, "-P", "-m", "actors.user_classes.trial", folder, str(os.getpid())]
        child = subprocess.Popen(command, env=child_environment(), stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no answer within {timeout_s:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        if not told.exists():
            raise NotMadeError(f"its process ended ({cause_of(code)})")
        found = json.loads(told.read_text())
    if isinstance(found, str):
        raise NotMadeError(found)
    return [fault and Wrong(**fault) for fault in found]


def _answer(folder: Path) -> None:
    """Make the replica, ask it, and write down what is wrong: a text, or a fault or null for each request."""
    found: str | list[dict[str, str] | None]
    try:
        make, requests = pickle.loads((folder / "given").read_bytes())
        replica = make(str(folder / "store"))
    except BaseException as error:  # SystemExit is the user's fault, too
        found = f"{type(error).__name__}: {said(error)}"
    else:
        found = asyncio.run(_faults(replica, requests))
    (folder / "part").write_text(json.dumps(found))
    (folder / "part").rename(folder / "told")


async def _faults(replica: Replica, requests: Sequence[object]) -> list[dict[str, str] | None]:
    from actors.metered.retry import Fault  # late: it imports Ray, which who asks can do without

    answers = [await replica(request) for request in requests]
    return [{"kind": one.kind, "error": one.error} if isinstance(one, Fault) else None for one in answers]


if __name__ == "__main__":
    die_with(int(sys.argv[2]))
    os.dup2(2, 1)  # the user's prints go to stderr
    _answer(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(0)  # threads of the user's may go on
