"""What an agent makes of a benchmark's items: many at a time, each committed once it is whole.

    <out>/outputs/outputs-*.log    a row for each story that ended, whole or not

A later start tells again what is not whole: an outage heals, and an agent that cannot do an item fails at it again.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.store.append_log import AppendLog, GroupCommit, read_log
from actors.store.store import Store
from evals.official.benchmark import Form, Item, Output, Part, Picture
from evals.official.told import output_of
from rl.official.brake import Brake
from rollout.concurrency import all_settled
from rollout.roles import BudgetSpent
from rollout.story import Story
from rollout.types import Request

_KIND = "outputs"
_SPENT = f"{BudgetSpent.__name__}: "
"""How a story tells that the generator's budget is spent: it fails at nothing else by that name."""
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
                found[item] = Output((), f"the image {gone[0]} is no longer in {store.place}")
        return found

    async def append(self, item: Item, output: Output) -> None:
        """Commit an output."""
        self._log = self._log or GroupCommit(AppendLog(self._folder, _KIND))
        parts = [{"image": part.ref} if isinstance(part, Picture) else {"text": part} for part in output.parts]
        row = {"item": item.id, "parts": parts, "error": output.error}
        await self._log.append([row | ({"leniencies": dict(output.leniencies)} if output.leniencies else {})])


@dataclass(frozen=True)
class Telling:
    """How items are told."""

    tell: Teller
    form: Form
    seed: int = 0
    at_once: int = 32
    max_failure_share: float = 1.0
    """Of the stories that are told, from the twentieth on."""


async def make_outputs(
    items: Sequence[Item], telling: Telling, log: OutputLog, store: Store, say: Say
) -> dict[str, Output]:
    """Have every item told that is not there whole; return all outputs. Raises `BudgetSpent` and `RunStopped`.

    Even then what is under way is still committed.
    """
    outputs = await asyncio.to_thread(log.read, store)
    waiting = [item for item in items if item.id not in outputs or outputs[item.id].error is not None]
    limit, brake = asyncio.Semaphore(telling.at_once), Brake(telling.max_failure_share)
    num_done = len(items) - len(waiting)

    async def one(item: Item) -> None:
        nonlocal num_done
        async with limit:
            brake.check()
            output = await _told(item, telling)
            if output.error is not None and _SPENT in output.error:
                brake.pull(BudgetSpent(output.error.partition(_SPENT)[2]))
            await log.append(item, output)
            outputs[item.id], num_done = output, num_done + 1
            say("outputs", num_done, len(items))
            brake.count("outputs", output.error)

    say("outputs", num_done, len(items))
    await all_settled(one(item) for item in waiting)
    return {item.id: outputs[item.id] for item in items}


async def _told(item: Item, telling: Telling) -> Output:
    try:
        request = Request(item.request, item.images, telling.seed, id=item.id).checked()
    except ValueError as error:  # a prompt of theirs that no model can be given
        return Output((), str(error))
    return output_of(await telling.tell(request), telling.form)


def _output(row: dict[str, Any]) -> Output:
    parts: list[Part] = [Picture(part["image"]) if "image" in part else part["text"] for part in row["parts"]]
    return Output(tuple(parts), row["error"], row.get("leniencies", {}))


def leniencies_in(outputs: Iterable[Output]) -> Counter[str]:
    """Return how often each leniency was used by the reader `public`."""
    return sum((Counter(output.leniencies) for output in outputs), Counter())
