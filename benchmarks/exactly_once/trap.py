"""SIGKILL at an instant of a run's life: before or after a write, a rename, a call, an update.

Stand-ins say where they are (`Trap.at`); files are told by the calls that commit them, which are wrapped in this
process alone: `os.fsync`, `os.replace` and the opening of metrics.jsonl. A log that is not synced yet may lose its
last bytes, and a row of metrics may be half there, as after a machine that fails.
"""

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout.types import Phase

_FILES = (
    ("/checkpoints/", "save"),
    ("/ledger/samples-", "sample rows"),
    ("/ledger/calls-", "bill"),
    ("/ledger/steps-", "step rows"),
    ("/ledger/attempts-", "start"),
    ("/store/", "store"),
    ("/groups/", "kept groups"),
    ("/evaluation_before", "evaluation"),
    ("/evaluation_after", "end"),
    ("/versions", "start"),
    ("/recipe.yaml", "start"),
    ("/metrics.jsonl", "start"),  # renamed when a run is resumed
    ("/report.html", "end"),
    (".parquet", "end"),
)
"""Part of a file's path -> the moment that its commit belongs to; the first one that fits."""
PHASE = ContextVar("PHASE", default=Phase.DURING)
"""What is rolled out."""


@dataclass(frozen=True)
class Aim:
    """Whom to kill, and when: at the `nth` instant that belongs to a moment."""

    moment: str
    nth: int
    victims: tuple[int, ...] = (0,)
    """Processes in this order; 0 is the run itself."""
    seed: int = 0
    """Of how much of an unsynced row is lost."""


class Trap:
    """Counts the instants of each moment, and kills at one of them."""

    def __init__(self, aim: Aim | None = None):
        self.counts: Counter[str] = Counter()
        self._aim = aim

    def at(self, moment: str, before: Callable[[], None] | None = None) -> None:
        """Say that an instant of a moment has come; `before` is done first if somebody is killed now."""
        self.counts[moment] += 1
        aim = self._aim
        if aim is None or moment != aim.moment or self.counts[moment] != aim.nth:
            return
        self._aim = None
        if before is not None and 0 in aim.victims:
            before()
        for victim in aim.victims:
            os.kill(victim or os.getpid(), signal.SIGKILL)

    def at_call(self) -> None:
        """Say that something is drawn, made or judged."""
        self.at("rollout" if PHASE.get() is Phase.TRAIN else "evaluation")

    def watch_files(self) -> None:
        """Have commits of files be instants, in this process from now on."""
        dice = random.Random(self._aim.seed if self._aim else 0)
        fsync, replace, synced = os.fsync, os.replace, Counter[str]()

        def watched_fsync(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            path = os.readlink(f"/proc/self/fd/{number}")
            moment = moment_of(path) if path.endswith(".log") else None
            if moment is None:
                return fsync(descriptor)
            size = os.fstat(number).st_size
            self.at(moment, before=lambda: os.truncate(path, dice.randint(synced[path], size)))
            fsync(descriptor)
            synced[path] = size
            self.at(moment)

        def watched_replace(source: Any, target: Any, **options: Any) -> None:
            moment = moment_of(str(target))
            if moment is not None:
                self.at(moment)
            replace(source, target, **options)
            if moment is not None:
                self.at(moment)

        def on_event(event: str, arguments: Sequence[Any]) -> None:
            if event == "open" and arguments[1] == "a" and str(arguments[0]).endswith("metrics.jsonl"):
                self.at("metrics", before=lambda: _leave_half_a_row(Path(arguments[0])))

        vars(os).update(fsync=watched_fsync, replace=watched_replace)
        sys.addaudithook(on_event)


def moment_of(path: str) -> str | None:
    """Return the moment that the commit of a file belongs to.

    >>> moment_of("/x/run/ledger/calls-000001-host-1-0.log"), moment_of("/x/run/lock")
    ('bill', None)
    """
    return next((moment for part, moment in _FILES if part in path), None)


def _leave_half_a_row(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b'{"step": 1, "reward/me')
    os.close(descriptor)
