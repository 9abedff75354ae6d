"""Groups for each step, rolled out at most `max_staleness` consumed steps ahead of the policy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rl.batch import has_learning_signal, is_enough
from rl.recipe.config import Recipe
from rl.recipe.resumable import ACCEPT
from rl.task_sampler import TaskSampler
from rollout.concurrency import all_of
from rollout.roles import RunStopped
from rollout.text.seeds import seed_of
from rollout.types import Group, GroupRequest, Sample, Task

RollOut = Callable[[GroupRequest], Coroutine[Any, Any, Group]]
"""Makes one group: `SingleStep.roll_out`, in this process or in the rollout workers."""


class RolloutsFailed(RunStopped):
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
        self._draw = TaskSampler(tasks, recipe.rollout, recipe.seed)
        self._roll_out = roll_out
        self._first_step = first_step
        self.consumed = first_step - 1
        """The last step that was learned from, and published."""
        self.learned = self.consumed
        """The last step whose update is done: what a checkpoint of now holds."""
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
            yield step, await self._take(step)

    async def _take(self, step: int) -> list[Group]:
        """Return a step's groups, and keep them no longer than the caller does: they are most of the memory."""
        groups = await self._pending[step]
        del self._pending[step]
        return groups

    @property
    def metrics(self) -> Mapping[str, float]:
        """What there is to say when a step is yielded: how many further ones are complete, if any may be."""
        if not self._recipe.max_staleness:
            return {}
        return {"rollout/steps_ahead": float(sum(task.done() for task in self._pending.values()))}

    def advance(self, step: int) -> None:
        """Say that `step` is consumed: its update is done and published."""
        self.consumed = self.learned = step
        self._start(step + 1 + self._recipe.max_staleness)

    def _start(self, step: int) -> None:
        if step <= self._recipe.num_steps:
            self._pending[step] = asyncio.create_task(self._step(step), name=f"rollouts of step {step}")

    async def _step(self, step: int) -> list[Group]:
        """Return a step's groups: as many as asked for, then those that replace some of them."""
        settings = self._recipe.rollout
        # In threads: shuffling the positions of a large data set would hold up the loop.
        groups = await self._groups(step, await asyncio.to_thread(self._draw.tasks_of, step))
        spares: dict[str, list[int]] = {}
        num_left = settings.max_refills
        # A step with too many failures stops the run: no use in paying for more.
        while num_left and any(self._missing(groups)) and failure_share(groups) <= settings.max_failure_share:
            spares = spares or await asyncio.to_thread(self._draw.spares, step)
            chosen = self._refills(self._missing(groups), spares)[:num_left]
            if not chosen:
                break
            groups += await self._groups(step, [self._draw.task(position) for position in chosen])
            num_left -= len(chosen)
        return groups

    def _missing(self, groups: Sequence[Group]) -> list[int]:
        """Return how many groups each share lacks."""
        counting = [group.task for group in groups if self._counts(group)]
        return [share.size - sum(share.matches(task) for task in counting) for share in self._draw.shares]

    def _refills(self, missing: Sequence[int], spares: dict[str, list[int]]) -> list[int]:
        """Take a position from the spares for each group that is missing, of the same share; the shares take turns."""
        taken: list[list[int]] = []
        for share, num_missing in zip(self._draw.shares, missing, strict=True):
            taken.append(spares[share.name][:num_missing])
            del spares[share.name][:num_missing]
        return [position for turn in zip_longest(*taken) for position in turn if position is not None]

    def _counts(self, group: Group) -> bool:
        """Whether a group needs no replacement."""
        if not is_enough(group, self._recipe):
            return False
        return has_learning_signal(group, self._recipe) or not self._recipe.rollout.refill_zero_variance

    async def _groups(self, step: int, tasks: Sequence[Task]) -> list[Group]:
        """Roll out in parallel; the order is the tasks', not that of arrival."""
        return await all_of(self._group(step, task) for task in tasks)

    async def _group(self, step: int, task: Task) -> Group:
        seed = self._recipe.seed
        # One generation seed a task: the prompts of a group are compared, not the generator's luck.
        edit_seeds = (seed_of(seed, "edit", task.id),)
        n = self._recipe.rollout.n
        return await self._roll_out(GroupRequest(task, n, seed_of(seed, "sample", step), edit_seeds, step=step))


def failure_share(groups: Sequence[Group]) -> float:
    """Return the share of samples without a reward."""
    samples: list[Sample] = [sample for group in groups for sample in group.samples]
    return sum(not sample.is_valid for sample in samples) / len(samples)


def why_void(groups: Sequence[Group], limit: float) -> str:
    """Return how many samples failed, with stage and example, when they are more than `limit` of all; else ''."""
    if failure_share(groups) <= limit:
        return ""
    samples = [sample for group in groups for sample in group.samples]
    failed = [sample.failure for sample in samples if sample.failure is not None]
    stage, count = Counter(failure.stage for failure in failed).most_common(1)[0]
    example = next(failure.error for failure in failed if failure.stage == stage)
    return (
        f"{len(failed)} of {len(samples)} samples failed, more than the recipe's max_failure_share={limit}; "
        f"{count} at {stage.value}, for example: {example}"
    )


def check_failures(groups: Sequence[Group], limit: float, where: str) -> None:
    """Raise `RolloutsFailed` with stage and example when more than `limit` of the samples failed."""
    if why := why_void(groups, limit):
        raise RolloutsFailed(f"{where}: {why}; fix it, then rerun the same command with --resume{ACCEPT}")
