"""A disk that takes no more ends a run by one line: which file, how much room is left, and what is saved."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rl.run_dir.resume import saved_in
from rl.writable import FULL
from rollout.roles import RunStopped
from rollout.text.sizes import size_told


class DiskFull(RunStopped):
    """A file could not be written for want of room. Nothing that counts as saved is lost."""


@asynccontextmanager
async def telling_when_full(run_dir: Path) -> AsyncIterator[None]:
    """Turn the error of a full disk into `DiskFull`.

    Nothing is saved then: that needs room, too, and a step whose rows are not on disk has to be repeated as a whole.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(_told(error, run_dir)) from error


def _told(error: OSError, run_dir: Path) -> str:
    path = Path(error.filename2 or error.filename or run_dir)
    there = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    room = size_told(shutil.disk_usage(there).free)
    return (
        f"{path} cannot be written: {error.strerror} ({room} are free there); {saved_in(run_dir)}: once there "
        "is room, the same command and --resume go on"
    )
