"""What an agent makes of a benchmark's items: many at a time, each committed once it is whole.

    <out>/outputs/outputs-*.log    a row for each story that ended, whole or not

A later start tells again what is not whole: an outage heals, and an agent that cannot do an item fails at it again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from actors.store.append_log import AppendLog, GroupCommit, read_log
from actors.store.store import Store
from evals.official.benchmark import Form, Item, Output, Part, Picture
from evals.official.told import output_of
from rollout.concurrency import all_settled
from rollout.roles import BudgetSpent
from rollout.story import Story
from rollout.types import Request

_KIND = "outputs"
Teller = Callable[[Request], Awaitable[Story]]
Say = Callable[[str, int, int], None]
"""`say(what, done, of)` tells how far it is."""


class OutputLog:
    """The outputs of a run's folder. One writer at a time."""

    def __init__(self, folder: Path):
        self._folder = folder / _KIND
        self._log: GroupCommit | None = None

    def read(self, store: Store) -> dict[str, Output]:
        """Return the outputs by item; of one that lost an image, only that."""
        found = {row["item"]: _output(row) for row in read_log(self._folder, _KIND)}
        for item, output in found.items():
            if gone := [ref for ref in output.images if not store.has_image(ref)]:
                found[item] = Output((), f"the image {gone[0]} is no longer in {store.root}")
        return found

    async def append(self, item: Item, output: Output) -> None:
        """Commit an output."""
        self._log = self._log or GroupCommit(AppendLog(self._folder, _KIND))
        parts = [{"image": part.ref} if isinstance(part, Picture) else {"text": part} for part in output.parts]
        await self._log.append([{"item": item.id, "parts": parts, "error": output.error}])


async def make_outputs(
    items: Sequence[Item], tell: Teller, log: OutputLog, store: Store, *, form: Form, seed: int, at_once: int, say: Say
) -> dict[str, Output]:
    """Have every item told that is not there whole; return all outputs. Raises `BudgetSpent`.

    After a spent budget what is under way is still committed.
    """
    outputs = await asyncio.to_thread(log.read, store)
    waiting = [item for item in items if item.id not in outputs or outputs[item.id].error is not None]
    limit, num_done, spent = asyncio.Semaphore(at_once), len(items) - len(waiting), ""

    async def one(item: Item) -> None:
        nonlocal num_done, spent
        async with limit:
            if spent:
                raise BudgetSpent(spent)
            output = await _told(item, tell, form, seed)
            if output.error is not None and BudgetSpent.__name__ in output.error:
                spent = output.error.partition(f"{BudgetSpent.__name__}: ")[2]
                raise BudgetSpent(spent)
            await log.append(item, output)
            outputs[item.id], num_done = output, num_done + 1
            say("outputs", num_done, len(items))

    say("outputs", num_done, len(items))
    await all_settled(one(item) for item in waiting)
    return {item.id: outputs[item.id] for item in items}


async def _told(item: Item, tell: Teller, form: Form, seed: int) -> Output:
    try:
        request = Request(item.request, item.images, seed, id=item.id).checked()
    except ValueError as error:  # a prompt of theirs that no model can be given
        return Output((), str(error))
    return output_of(await tell(request), form)


def _output(row: dict[str, Any]) -> Output:
    parts: list[Part] = [Picture(part["image"]) if "image" in part else part["text"] for part in row["parts"]]
    return Output(tuple(parts), row["error"])
