"""Who is hurt, how and at which moment, and how each of them is found among the processes of a run."""

import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

DRIVER = "driver"
TITLES = {
    "engine": "ray::Engine",
    "rank": "ray::PolicyWorker",
    "generator": "ray::ServeReplica:generator",
    "judge": "ray::ServeReplica:judge",
    "worker": "ray::_Worker",
    "ledger writer": "ray::LedgerWriter",
    "owner of paid calls": "ray::_SharedCallsActor",
    "Ray's head": "gcs_server",
    "raylet": "raylet",
}
"""How the command line of each begins; of Ray's own processes, the name of the program."""
_FIND_S = 600.0


@dataclass(frozen=True)
class Injury:
    """One process is killed (SIGKILL) or stopped (SIGSTOP) in the middle of something."""

    who: str
    how: str
    moment: str
    at: float = 0.5
    """Which share of the moment is over then."""
    is_of_cluster: bool = False
    """It befalls a Ray that the run has joined."""

    def __str__(self) -> str:
        where = " of a cluster" if self.is_of_cluster else ""
        return f"{self.who}{where} {'killed' if self.how == 'SIGKILL' else 'stopped'} during {self.moment}"

    def hurt(self, pid: int) -> None:
        """Send the signal."""
        os.kill(pid, signal.Signals[self.how])

    def victim(self, driver: int) -> int:
        """Return which of a driver's processes is hurt. Raises RuntimeError if there is none."""
        return driver if self.who == DRIVER else find(driver, TITLES[self.who])


KINDS = (
    ("engine", "waiting_for_rollouts"),
    ("engine", "publish"),
    ("rank", "update"),
    ("rank", "saving"),
    ("generator", "waiting_for_rollouts"),
    (DRIVER, "publish"),
    (DRIVER, "saving"),
    (DRIVER, "update"),
    (DRIVER, "starting"),
)
"""Kills over the cells that only the real stack has: vLLM, verl and diffusers are in them."""
_ROLLOUTS = "waiting_for_rollouts"
_DRAWING = 0.1
"""How much of the rollouts is over when answers are drawn: later images are made."""
EACH = (
    *(
        Injury(who, "SIGSTOP", _ROLLOUTS)
        for who in ("worker", "ledger writer", "owner of paid calls", "generator", "judge")
    ),
    Injury("rank", "SIGSTOP", "update"),
    *(
        Injury(who, "SIGKILL", _ROLLOUTS)
        for who in ("worker", "ledger writer", "owner of paid calls", "generator", "judge")
    ),
    Injury("Ray's head", "SIGKILL", "update"),
    Injury("engine", "SIGSTOP", _ROLLOUTS, _DRAWING),
    Injury("Ray's head", "SIGSTOP", "update"),
    Injury("raylet", "SIGKILL", "update"),
    Injury("rank", "SIGKILL", "update"),
    Injury("engine", "SIGKILL", _ROLLOUTS, _DRAWING),
    Injury("raylet", "SIGSTOP", "update"),
    Injury(DRIVER, "SIGKILL", "update"),
)
"""Each death and each hang, once; first those that one life may survive."""


def drawn(num_kills: int, seed: int) -> list[Injury]:
    """Return so many kills: each kind about as often, in an order and at instants drawn by the seed."""
    dice = random.Random(seed)
    rounds = [dice.sample(KINDS, len(KINDS)) for _ in range(-(-num_kills // len(KINDS)))]
    chosen = [kind for one in rounds for kind in one][:num_kills]
    return [Injury(who, "SIGKILL", moment, round(dice.uniform(0.1, 0.9), 3)) for who, moment in chosen]


def find(driver: int, title: str) -> int:
    """Return the youngest process below a driver whose command line begins so, or whose program is called so."""
    give_up = time.monotonic() + _FIND_S
    while time.monotonic() < give_up:
        found = [process for process in below(driver) if _is(process, title)]
        if found:
            return max(found, key=lambda process: process.create_time()).pid
        time.sleep(0.05)
    raise RuntimeError(f"no process of this run is {title}")


def below(driver: int) -> Sequence[psutil.Process]:
    """Return the processes that a driver started, and theirs."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(driver).children(recursive=True)
    return []


def _is(process: psutil.Process, title: str) -> bool:
    with suppress(psutil.Error, IndexError):
        first = process.cmdline()[0]  # a title that is being written reads as nonsense: it is looked at again
        return first.startswith(title) or os.path.basename(first) == title
    return False
