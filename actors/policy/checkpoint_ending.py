"""How the driver learns that the ranks have written a checkpoint, without waiting for what they compute meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rollout.roles import CheckpointError
from rollout.text.foreign import error_text

_SHORTEST_S, _LONGEST_S = 0.02, 1.0
"""Pauses between looks: they grow with the time that has passed."""
Ask = Callable[[], Awaitable[str | None]]
"""Asks a rank what it knows of its files: `CheckpointStaging.ended_writing`."""


def say_ended(folder: Path, rank: int, error: str) -> None:
    """Leave a note in a checkpoint's folder that a rank's files are whole ('') or why not. Raises no `OSError`."""
    note = _note(folder, rank)
    with suppress(OSError):  # no room, or no folder, for a note either: the rank says so when it is asked
        unfinished = note.with_suffix(".unfinished")
        unfinished.write_text(error, encoding="utf-8")
        unfinished.replace(note)


def remove_note(folder: Path, rank: int) -> None:
    """Remove what a rank has left in a checkpoint's folder besides the checkpoint."""
    for path in (note := _note(folder, rank), note.with_suffix(".unfinished")):
        path.unlink(missing_ok=True)


async def until_written(folder: Path, ranks: Sequence[Ask]) -> None:
    """Wait until all ranks have written their files, or one cannot. Raises `CheckpointError`, and what a call raises.

    A rank computes while its thread writes, and answers calls only afterwards, so that it leaves a note. It is asked,
    too: one that has died leaves none, nor one whose disk is full.
    """
    errors = await asyncio.gather(*(_ended(_note(folder, rank), ask) for rank, ask in enumerate(ranks)))
    for rank, error in enumerate(errors):
        if error:
            raise CheckpointError(f"rank {rank} of the policy: {error}")
        await asyncio.to_thread(remove_note, folder, rank)


def one_line(error: BaseException) -> str:
    """Return what went wrong, here or on a rank, in one line."""
    cause = getattr(error, "cause", None) or error  # of Ray's, whose own text is a traceback
    return f"{type(cause).__name__}: {' '.join(error_text(cause).split())}"[:500]


async def _ended(note: Path, ask: Ask) -> str:
    """Return why a rank could not write its files, '' if they are whole; raises if it has died."""
    pause = _SHORTEST_S
    asked = asyncio.ensure_future(ask())
    try:
        while True:
            await asyncio.wait([asked], timeout=pause)
            if (told := await asyncio.to_thread(_read, note)) is not None:
                return told
            if asked.done():
                if (answer := asked.result()) is not None:
                    return answer
                await asyncio.sleep(pause)
                asked = asyncio.ensure_future(ask())
            pause = min(1.5 * pause, _LONGEST_S)
    finally:
        asked.cancel()


def _note(folder: Path, rank: int) -> Path:
    return folder / f".rank_{rank}.ended"


def _read(note: Path) -> str | None:
    try:
        return note.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
