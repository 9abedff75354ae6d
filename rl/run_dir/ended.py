"""How a run's last start ended, kept in its folder: who looks at the folder later has not seen the terminal."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from rl.atomic_write import atomic_write
from rl.json_file import read_object
from rl.preemption import Preempted
from rollout.roles import BudgetSpent, RunStopped
from rollout.text.foreign import error_text

_NAME = "ended.json"
_HOW: tuple[tuple[type[BaseException], str], ...] = (
    (Preempted, "preempted"),
    (BudgetSpent, "its budget was spent"),
    (RunStopped, "stopped"),
    (KeyboardInterrupt, "interrupted"),
)


@dataclass(frozen=True)
class Ended:
    """The end of a start that was not killed."""

    how: str
    """`finished`, `preempted`, `its budget was spent`, `stopped`, `interrupted` or `broke`."""
    why: str
    """One line; empty where there is no more to say."""
    time: float
    """Seconds since 1970."""


@contextmanager
def noting_the_end(run_dir: Path) -> Iterator[None]:
    """Write down how what runs inside ends. While it runs, and after a kill, nothing is written there."""
    path = run_dir / _NAME
    path.unlink(missing_ok=True)
    try:
        yield
    except BaseException as error:
        how = next((how for kind, how in _HOW if isinstance(error, kind)), "broke")
        with suppress(OSError):  # a full disk is what may have ended it
            _write(path, how, _why(error, how))
        raise
    _write(path, "finished", "")


def read_end(run_dir: Path) -> Ended | None:
    """Return how a run's last start ended; None where it runs, was killed, or is older than such notes."""
    with suppress(OSError, ValueError, TypeError):
        return Ended(**read_object(run_dir / _NAME))
    return None


def _write(path: Path, how: str, why: str) -> None:
    atomic_write(path, json.dumps(asdict(Ended(how, why, round(time.time(), 3)))))


def _why(error: BaseException, how: str) -> str:
    if how == "interrupted":
        return ""
    if how == "broke":
        error = error.__cause__ or error
    text = " ".join(error_text(error).split())
    return f"{type(error).__name__}: {text}" if how == "broke" else text
