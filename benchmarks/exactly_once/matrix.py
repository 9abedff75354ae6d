"""The cells of the matrix, and how one of them is tried out: who is killed, at which moment, at which lead."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from actors.metered.retry import CallError
from benchmarks.exactly_once import service
from benchmarks.exactly_once.count import Counted, Kill, committed, count
from benchmarks.exactly_once.life import live
from benchmarks.exactly_once.trap import Aim

ANY = "any"
"""A kill after so many seconds, wherever that is."""
MOMENTS = (
    *("start", "rollout", "store", "bill", "sample rows", "step rows", "update", "publish", "save", "metrics"),
    *("tracker", "evaluation", "end", ANY),
)
KEPT = "kept groups"
"""Only where rollouts run ahead."""
VICTIMS = {"driver": (0,), "services": (1,), "both": (1, 0)}
"""Who is killed: the driver, generator and judge, or all of them."""
LEADS = (0, 1, 2)
PATIENCE_S = 1200.0
"""A life that takes longer hangs."""
_MOST_TRIES = 3
"""A life may end before the moment comes: then the cell is tried on another run."""


@dataclass(frozen=True)
class Cell:
    """One cell: `k` is max_staleness."""

    who: str
    moment: str
    k: int


@dataclass
class Tried:
    """What came of the runs of a cell."""

    cell: Cell
    kills: int = 0
    seconds: float = 0.0
    runs: list[Counted] = field(default_factory=list)

    def save(self, path: Path) -> None:
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(self), indent=1))
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Tried:
        saved = json.loads(path.read_text())
        return cls(Cell(**saved["cell"]), saved["kills"], saved["seconds"], [Counted(**one) for one in saved["runs"]])


def cells() -> list[Cell]:
    """Return all cells."""
    found = [Cell("driver", moment, k) for moment in MOMENTS for k in LEADS]
    found += [Cell("driver", KEPT, k) for k in LEADS if k]
    return found + [
        Cell(who, moment, k) for who in ("services", "both") for moment in ("rollout", "evaluation") for k in LEADS
    ]


@dataclass(frozen=True)
class Alone:
    """A run that was left alone: what the others are held against."""

    folder: Path
    seconds: float
    instants: Mapping[str, int]
    """How many of each moment it had."""


_CONTEXT = get_context("fork")
"""A life begins with everything imported."""


class Run:
    """A run and its service, in a folder of their own."""

    def __init__(self, folder: Path, k: int):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self._k = folder, k
        self._sockets = Path(tempfile.mkdtemp(prefix="once-"))  # a socket's path has to be short
        self._socket = str(self._sockets / "service")
        self.notes = folder / "notes"
        self.kills: list[Kill] = []
        self._service = self._serve()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._service.kill()
        shutil.rmtree(self._sockets)

    def live(self, aim: Aim | None = None, after_s: float | None = None) -> None:
        """Let the run live until it ends or is killed: by its own trap, or after so many seconds."""
        victims = tuple((victim and self._service.pid) or 0 for victim in aim.victims) if aim else ()
        if aim is not None:
            aim = Aim(aim.moment, aim.nth, victims, aim.seed)
        life = _CONTEXT.Process(target=live, args=(self.folder, self._k, self._socket, aim))
        life.start()
        served = self._service
        try:
            give_up = time.monotonic() + PATIENCE_S
            kill_at = give_up if after_s is None else time.monotonic() + after_s
            while life.is_alive() and time.monotonic() < give_up:
                life.join(0.02)
                if time.monotonic() > kill_at:
                    life.kill()
                if not self._service.is_alive():
                    self._note_kill()
                    self._service = self._serve()
        finally:
            life.kill()
            life.join()
        if life.exitcode not in (0, -9) or time.monotonic() > give_up:
            raise RuntimeError(f"a life ended with {life.exitcode}: {(self.folder / 'said').read_text()[-2000:]}")
        if life.exitcode and len(victims) > 1:
            served.join()  # killed a moment before
        was_served = self._service.is_alive()
        if not was_served:
            self._service = self._serve()
        if life.exitcode or not was_served:
            asyncio.run(_until_quiet(self._socket))
            self._note_kill()

    def _note_kill(self) -> None:
        noted = self.notes.read_text().split() if self.notes.exists() else []
        self.kills.append(Kill(len(noted), committed(self.folder / "store")))

    def _serve(self) -> BaseProcess:
        arguments = self._socket, str(self.folder / "store"), str(self.notes)
        process = _CONTEXT.Process(target=service.serve, args=arguments, daemon=True)
        process.start()
        asyncio.run(_until_quiet(self._socket))
        return process


def leave_alone(folder: Path, k: int) -> Alone:
    """Return the run of a lead that nobody kills; one that is there is used again."""
    done = folder / "seconds"
    if not done.exists():
        with Run(folder, k) as run:
            began = time.monotonic()
            run.live()
            done.write_text(str(time.monotonic() - began))
    return Alone(folder, float(done.read_text()), json.loads((folder / "instants.json").read_text()))


def try_cell(cell: Cell, alone: Alone, folder: Path, kills: int, seed: int) -> Tried:
    """Kill runs until a cell has its kills, let each end, and count."""
    dice, tried, began = random.Random(f"{seed} {cell}"), Tried(cell), time.monotonic()
    for number in range(_MOST_TRIES):
        if tried.kills >= kills:
            break
        with Run(folder / str(number), cell.k) as run:
            left = alone.instants.get(cell.moment, 1)
            for _ in range(kills - tried.kills):
                after_s, aim = None, None
                if cell.moment == ANY:
                    after_s = dice.uniform(0.0, alone.seconds)
                else:
                    nth = dice.randint(1, max(1, left))
                    aim, left = Aim(cell.moment, nth, VICTIMS[cell.who], dice.randrange(10**6)), left - nth
                before = len(run.kills)
                run.live(aim, after_s)
                tried.kills += len(run.kills) > before
            run.live()
            tried.runs.append(count(run.folder, alone.folder, run.kills, run.notes))
        if not any(tried.runs[-1].breaches.values()):
            shutil.rmtree(run.folder)
    tried.seconds = time.monotonic() - began
    return tried


async def _until_quiet(socket: str) -> None:
    """Return once a service is up and has nothing to do."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        with suppress(CallError):
            await service.ask(socket, {"who": "harness"})
            return
        await asyncio.sleep(0.05)
    raise RuntimeError("the service does not answer")
