"""Groups for each step, rolled out at most `max_staleness` consumed steps ahead of the policy."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from itertools import zip_longest
from typing import Any

from rl.batch import is_enough, teaches
from rl.config import Recipe, RolloutConfig
from rollout.concurrency import all_of
from rollout.seeds import seed_of
from rollout.types import Group, GroupRequest, Sample, Task

RollOut = Callable[[GroupRequest], Coroutine[Any, Any, Group]]
"""Makes one group: `SingleStep.roll_out`, in this process or in the rollout workers."""


class RolloutsFailed(RuntimeError):
    """More samples of a step failed than the recipe allows."""


class RolloutStream:
    """Async iterator of `(step, groups)`, steps counted from 1.

    Step s may start once step s - 1 - max_staleness is consumed (`advance`), so no sample is older than
    max_staleness updates when it is learned from. Which tasks and seeds a step gets depends on the
    recipe's seed alone, never on timing: at max_staleness=0 a resumed run sees what the uninterrupted one
    would have. Above 0 it rolls the steps in flight out again, with newer weights.
    """

    def __init__(self, recipe: Recipe, tasks: Sequence[Task], roll_out: RollOut, *, first_step: int = 1):
        self._recipe = recipe
        self._tasks = sorted(tasks, key=lambda task: task.id)
        self._shares = _shares(self._tasks, recipe.rollout)
        self._ids = {name: {task.id for task in tasks} for name, tasks, _ in self._shares}
        self._roll_out = roll_out
        self._first_step = first_step
        self.consumed = first_step - 1
        """The last step that was learned from."""
        self._pending: dict[int, asyncio.Task[list[Group]]] = {}

    async def __aenter__(self) -> RolloutStream:
        for step in range(self._first_step, self._first_step + self._recipe.max_staleness + 1):
            self._start(step)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._pending.values():
            task.cancel()
        await asyncio.gather(*self._pending.values(), return_exceptions=True)
        self._pending.clear()

    async def __aiter__(self) -> AsyncIterator[tuple[int, list[Group]]]:
        for step in range(self._first_step, self._recipe.num_steps + 1):
            groups = await self._pending[step]
            del self._pending[step]
            yield step, groups

    def advance(self, step: int) -> None:
        """Say that `step` is consumed: its update is done and published."""
        self.consumed = step
        self._start(step + 1 + self._recipe.max_staleness)

    def _start(self, step: int) -> None:
        if step <= self._recipe.num_steps:
            self._pending[step] = asyncio.create_task(self._step(step), name=f"rollouts of step {step}")

    async def _step(self, step: int) -> list[Group]:
        """Return a step's groups: as many as asked for, then those that replace some of them."""
        settings = self._recipe.rollout
        # In threads: shuffling the tasks of a large data set would hold up the loop.
        groups = await self._groups(step, await asyncio.to_thread(self.tasks_of, step))
        spares = await asyncio.to_thread(self._spares, step)
        num_first = len(groups)
        # A step with too many failures stops the run: no use in paying for more.
        while failure_share(groups) <= settings.max_failure_share:
            chosen = self._refills(groups, spares)[: settings.max_refills - len(groups) + num_first]
            if not chosen:
                break
            groups += await self._groups(step, chosen)
        return groups

    def _refills(self, groups: Sequence[Group], spares: dict[str, list[Task]]) -> list[Task]:
        """Take a task from the spares for each group that is missing, of the same share; the shares take turns."""
        taken: list[list[Task]] = []
        for name, _, size in self._shares:
            num_missing = size - sum(group.task.id in self._ids[name] and self._counts(group) for group in groups)
            taken.append(spares[name][:num_missing])
            del spares[name][:num_missing]
        return [task for turn in zip_longest(*taken) for task in turn if task is not None]

    def _counts(self, group: Group) -> bool:
        """Whether a group needs no replacement."""
        if not is_enough(group, self._recipe):
            return False
        return teaches(group, self._recipe) or not self._recipe.rollout.refill_zero_variance

    async def _groups(self, step: int, tasks: Sequence[Task]) -> list[Group]:
        """Roll out in parallel; the order is the tasks', not that of arrival."""
        return await all_of(self._group(step, task) for task in tasks)

    async def _group(self, step: int, task: Task) -> Group:
        seed = self._recipe.seed
        # One generation seed a task: the prompts of a group are compared, not the generator's luck.
        edit_seeds = (seed_of(seed, "edit", task.id),)
        n = self._recipe.rollout.n
        return await self._roll_out(GroupRequest(task, n, seed_of(seed, "sample", step), edit_seeds, step=step))

    def tasks_of(self, step: int) -> list[Task]:
        """Return the tasks of a step; each share of them runs through epochs of its own, in fresh permutations.

        An epoch's remainder is left out, so that no step holds a task twice.
        """
        drawn: list[Task] = []
        for name, tasks, size in self._shares:
            epoch, index = divmod(step - 1, len(tasks) // size)
            order = list(tasks)
            random.Random(seed_of(self._recipe.seed, "epoch", name, epoch)).shuffle(order)
            drawn += order[index * size : (index + 1) * size]
        return sorted(drawn, key=lambda task: task.id)

    def _spares(self, step: int) -> dict[str, list[Task]]:
        """Return what refills are taken from, in order, for each share: its other tasks, shuffled by seed and step."""
        own = {task.id for task in self.tasks_of(step)}
        spares = {}
        for name, tasks, _ in self._shares:
            order = [task for task in tasks if task.id not in own]
            random.Random(seed_of(self._recipe.seed, "refill", name, step)).shuffle(order)
            spares[name] = order
        return spares


def _shares(tasks: Sequence[Task], settings: RolloutConfig) -> list[tuple[str, list[Task], int]]:
    """Return what a step draws from, and how many from each: all tasks, or those of either label."""
    if settings.success_share is None:
        shares = [("all", list(tasks), settings.groups_per_step)]
    else:
        num_successes = round(settings.success_share * settings.groups_per_step)
        successes = [task for task in tasks if task.is_success]
        failures = [task for task in tasks if not task.is_success]
        shares = [
            ("success", successes, num_successes),
            ("failed", failures, settings.groups_per_step - num_successes),
        ]
    for name, drawn_from, size in shares:
        if len(drawn_from) < size:
            raise ValueError(f"{len(drawn_from)} training tasks ({name}) are too few: each step needs {size} of them")
    return [share for share in shares if share[2] > 0]


def failure_share(groups: Sequence[Group]) -> float:
    """Return the share of samples without a reward."""
    samples: list[Sample] = [sample for group in groups for sample in group.samples]
    return sum(not sample.is_valid for sample in samples) / len(samples)


def check_failures(groups: Sequence[Group], limit: float, where: str) -> None:
    """Raise `RolloutsFailed` with stage and example when more than `limit` of the samples failed."""
    if failure_share(groups) <= limit:
        return
    samples = [sample for group in groups for sample in group.samples]
    failed = [sample.failure for sample in samples if sample.failure is not None]
    stage, count = Counter(failure.stage for failure in failed).most_common(1)[0]
    example = next(failure.error for failure in failed if failure.stage == stage)
    raise RolloutsFailed(
        f"{where}: {len(failed)} of {len(samples)} samples failed, more than the recipe's "
        f"max_failure_share={limit}; {count} at {stage.value}, for example: {example}"
    )
