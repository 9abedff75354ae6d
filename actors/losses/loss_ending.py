"""How a job ends that has lost a part of it: within seconds, by a line that says who, why and what is saved."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from actors import ending
from actors.ending_child import descendants_of
from actors.losses import stacks
from actors.losses.head_watch import HeadWatch, Part
from actors.losses.lost import ComponentLost

STACKS = "who_waits.txt"


class RayLost(ComponentLost):
    """Ray's head, or this node's part of Ray, died or hangs."""


@asynccontextmanager
async def ended_by_loss(
    parts: Sequence[Part],
    *,
    logs: Path | None,
    saved: Callable[[], str],
    end: Callable[[int], None] = ending.begin,
    make_watch: Callable[..., HeadWatch] = HeadWatch,
) -> AsyncIterator[None]:
    """End what runs inside as soon as one of Ray's `parts` is lost. Raises `RayLost`.

    Stacks of who waits for whom are written into the folder `logs`, and `saved` ends the line, of any `ComponentLost`.
    Whatever error comes of a loss of Ray's, that loss is what is raised. From then on the process has seconds to end,
    with `ending.code_of_loss`: calls to a Ray without a head never return.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    lost: list[RayLost] = []
    saying = threading.Lock()

    def lose(why: str) -> None:
        with saying:
            if lost or ending.is_begun():  # what ends anyway has a line of its own
                return
            told = RayLost(f"{why}{_written(logs, _all_stacks(loop))}{saved()}")
            lost.append(told)
        ending.last_words = f"interleave: the run stopped: {told}"
        end(ending.code_of_loss)

    def lose_from_afar(why: str) -> None:
        lose(why)
        loop.call_soon_threadsafe(task.cancel)

    with make_watch(parts, lose_from_afar) as watch:
        try:
            yield
        except BaseException as error:
            if not lost and isinstance(error, Exception) and (why := await asyncio.to_thread(watch.lost_now)):
                await asyncio.to_thread(lose, why)
            if lost:
                raise lost[0] from error
            if isinstance(error, ComponentLost):
                told = f"{error}{_written(logs, error.stacks)}{saved()}"
                raise type(error)(told, error.stacks) from error
            raise


def _all_stacks(loop: asyncio.AbstractEventLoop) -> str:
    """Return who waits for whom: this process, and all that it has started."""
    return "\n".join([stacks.report(descendants_of([os.getpid()])), stacks.own_report(loop)])


def _written(logs: Path | None, text: str) -> str:
    """Write stacks down; return the words that say where, '' where there is nothing to say."""
    if logs is None or not text:
        return ""
    with suppress(OSError):
        logs.mkdir(parents=True, exist_ok=True)
        (logs / STACKS).write_text(text, encoding="utf-8", errors="backslashreplace")
        return f"; who waits for whom is in {logs / STACKS}"
    return ""
