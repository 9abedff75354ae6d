"""Groups in the order that they complete, for `rollout.first_complete`: no step waits for the longest answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from itertools import accumulate
from statistics import fmean

from rl.recipe.config import Recipe
from rl.stream import RollOut, RolloutStream
from rollout.types import Group, Task

_Running = asyncio.Task[Group]


class FirstComplete(RolloutStream):
    """A stream whose step takes the first groups that are complete; the others go into the next one.

    `rollout.first_complete` groups more are in flight than the steps that have begun need, which are max_staleness, so
    that a group can be late by one step. It is learned from within max_staleness updates, whatever its length: left
    to themselves the short answers would win. What a step gets depends on timing, so such a run cannot be repeated.
    There are no refills.
    """

    def __init__(
        self,
        recipe: Recipe,
        tasks: Sequence[Task],
        roll_out: RollOut,
        *,
        first_step: int = 1,
        learned: Collection[tuple[int, str]] = (),
    ):
        """`learned` names the groups, by step and task, that the steps before the first one took."""
        super().__init__(recipe, tasks, roll_out, first_step=first_step)
        self._learned = set(learned)
        self._size = recipe.rollout.groups_per_step
        self._next_step = max(1, first_step - recipe.max_staleness - 1)
        self._drawn: list[tuple[int, Task]] = []
        self._deadlines: dict[_Running, int] = {}
        """Groups in flight or complete, in the order of their tasks, and the last step that may learn from each."""
        self._completed: list[_Running] = []
        """Those that are complete, in that order."""
        self._beginning: asyncio.Task[None] | None = None
        self._left_out: set[_Running] = set()
        self._late: list[Group] = []
        """Of the newest step: groups that the one before left out."""

    async def __aenter__(self) -> RolloutStream:
        ahead = self._size * self._recipe.max_staleness + self._recipe.rollout.first_complete
        self._beginning = asyncio.create_task(self._begin(ahead))
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for task in (self._beginning, *self._deadlines) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aiter__(self) -> AsyncIterator[tuple[int, list[Group]]]:
        for step in range(self._first_step, self._recipe.num_steps + 1):
            if self._beginning is not None:
                await self._beginning
            chosen = await self._choose(step)
            yield step, sorted((group.result() for group in chosen), key=lambda group: (group.task.id, group.step))

    @property
    def metrics(self) -> Mapping[str, float]:
        """Of groups that the step before left out and this one learns from: how many, how long their answers are."""
        samples = [sample for group in self._late for sample in group.samples]
        lengths = [len(sample.evidence.response.token_ids) for sample in samples if sample.evidence is not None]
        metrics = {"rollout/left_out_groups": float(len(self._late))}
        return metrics | ({"rollout/left_out_mean_tokens": fmean(lengths)} if lengths else {})

    def advance(self, step: int) -> None:
        self.consumed = self.learned = step
        self._beginning = asyncio.create_task(self._begin(self._size))

    async def _begin(self, num_groups: int) -> None:
        """Begin so many more groups, as far as there are."""
        while len(self._drawn) < num_groups and self._next_step <= self._recipe.num_steps:
            tasks = await asyncio.to_thread(self._draw.tasks_of, self._next_step)
            self._drawn += [
                (self._next_step, task) for task in tasks if (self._next_step, task.id) not in self._learned
            ]
            self._next_step += 1
        for step, task in self._drawn[:num_groups]:
            group = asyncio.create_task(self._group(step, task), name=f"a group of step {step}")
            group.add_done_callback(self._completed.append)
            self._deadlines[group] = self.consumed + 1 + self._recipe.max_staleness
        del self._drawn[:num_groups]

    async def _choose(self, step: int) -> list[_Running]:
        """Wait for as many groups as a step learns from, those that must not become older among them; take them."""
        size = min(self._size, len(self._deadlines))
        quotas = self._quotas(step)
        while len(chosen := self._first(quotas, size)) < size:
            await asyncio.wait(self._deadlines.keys() - set(self._completed), return_when=asyncio.FIRST_COMPLETED)
        places = {group: place for place, group in enumerate(self._deadlines)}
        last = max(places[group] for group in chosen)
        self._late = [group.result() for group in chosen if group in self._left_out]
        self._left_out = {group for group, place in places.items() if place < last} - chosen.keys()
        for group in chosen:
            del self._deadlines[group]
        self._completed[:] = [group for group in self._completed if group not in chosen]  # callbacks append to it
        return list(chosen)

    def _quotas(self, step: int) -> dict[int, int]:
        """Return how many groups with each deadline, or an earlier one, a step must take: later ones have no room."""
        counts = Counter(self._deadlines.values())
        totals = zip(sorted(counts), accumulate(counts[deadline] for deadline in sorted(counts)), strict=True)
        return {deadline: total - (deadline - step) * self._size for deadline, total in totals}

    def _first(self, quotas: Mapping[int, int], size: int) -> dict[_Running, None]:
        """Return the first groups that are complete, at most `size`; none where a quota cannot be met yet."""
        chosen: dict[_Running, None] = {}
        for deadline, quota in quotas.items():
            urgent = [group for group in self._completed if self._deadlines[group] <= deadline]
            taken = sum(group in chosen for group in urgent)
            if len(urgent) < quota:
                return {}
            chosen |= dict.fromkeys([group for group in urgent if group not in chosen][: max(0, quota - taken)])
        others = [group for group in self._completed if group not in chosen]
        return chosen | dict.fromkeys(others[: size - len(chosen)])
