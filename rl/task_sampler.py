"""Which tasks a step gets: by the recipe's seed and the step alone, in stated shares of labels."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rl.recipe.config import RolloutConfig
from rollout.text.counted import counted
from rollout.text.seeds import seed_of
from rollout.types import Task


@dataclass(frozen=True, slots=True)
class Stratum:
    """What a step draws `size` tasks from."""

    name: str
    positions: Sequence[int]
    """Of its tasks among all."""
    size: int
    label: bool | None = None
    """What its tasks are labelled; None: either."""

    def matches(self, task: Task) -> bool:
        return self.label is None or task.is_success == self.label


class TaskSampler:
    """Draws by position: of a large data set, no task is read before its step.

    Each share runs through epochs of its own, in fresh permutations; an epoch's remainder is left out, so that no
    step holds a task twice.
    """

    def __init__(self, tasks: Sequence[Task], settings: RolloutConfig, seed: int):
        """Raises ValueError for a share with fewer tasks than a step needs."""
        self.shares = _strata(tasks, settings)
        self._tasks = tasks
        self._seed = seed
        self._epochs: dict[str, tuple[int, list[int]]] = {}

    def tasks_of(self, step: int) -> list[Task]:
        """Return the tasks of a step, by id."""
        return sorted((self._tasks[position] for position in self._positions(step)), key=lambda task: task.id)

    def spares(self, step: int) -> dict[str, list[int]]:
        """Return the positions that refills of a step are taken from, in order, for each share."""
        own = set(self._positions(step))
        spares = {}
        for share in self.shares:
            order = [position for position in share.positions if position not in own]
            random.Random(seed_of(self._seed, "refill", share.name, step)).shuffle(order)
            spares[share.name] = order
        return spares

    def task(self, position: int) -> Task:
        """Read one task."""
        return self._tasks[position]

    def _positions(self, step: int) -> list[int]:
        drawn: list[int] = []
        for share in self.shares:
            epoch, index = divmod(step - 1, len(share.positions) // share.size)
            drawn += self._epoch(share, epoch)[index * share.size : (index + 1) * share.size]
        return drawn

    def _epoch(self, share: Stratum, epoch: int) -> list[int]:
        """Return the permutation of an epoch; the last one is kept, as the next step most likely needs it again."""
        kept, order = self._epochs.get(share.name, (-1, []))
        if kept != epoch:
            order = list(share.positions)
            random.Random(seed_of(self._seed, "epoch", share.name, epoch)).shuffle(order)
            self._epochs[share.name] = epoch, order
        return order


def _strata(tasks: Sequence[Task], settings: RolloutConfig) -> list[Stratum]:
    """Return what a step draws from, and how many from each: all tasks, or those of either label."""
    if settings.success_share is None:
        shares = [Stratum("all", range(len(tasks)), settings.groups_per_step)]
        num_failed = 0
    else:
        positions: dict[bool, list[int]] = {True: [], False: []}
        for position, is_success in enumerate(_labels(tasks)):
            positions[bool(is_success)].append(position)
        wanted = _wanted(settings)
        shares = [Stratum(name, positions[label], wanted[label], label) for label, name in _NAMES.items()]
        num_failed = len(positions[False])
    if few := too_few(len(tasks), num_failed, settings):
        raise ValueError(f"data.train: {few}")
    return [share for share in shares if share.size > 0]


_NAMES = {True: "success", False: "failed"}


def _wanted(settings: RolloutConfig) -> dict[bool, int]:
    """Return how many tasks of each label a step of stated shares draws."""
    num_successes = round((settings.success_share or 0.0) * settings.groups_per_step)
    return {True: num_successes, False: settings.groups_per_step - num_successes}


def _labels(tasks: Sequence[Task]) -> Sequence[bool]:
    labels: Sequence[bool] | None = getattr(tasks, "labels", None)  # a table of records knows them without reading any
    return [task.is_success for task in tasks] if labels is None else labels


def count_failed(tasks: Sequence[Task]) -> int:
    """Return how many tasks are labelled failed; reads none of a table."""
    return sum(not is_success for is_success in _labels(tasks))


def too_few(num_tasks: int, num_failed: int, settings: RolloutConfig) -> str:
    """Return what a set of training tasks lacks for a single step, and what to do about it; empty if nothing."""
    if settings.success_share is None:
        wanted, share = {"": (num_tasks, settings.groups_per_step)}, ""
    else:
        of = _wanted(settings)
        wanted = {"successful ": (num_tasks - num_failed, of[True]), "failed ": (num_failed, of[False])}
        share = f", success_share={settings.success_share}"
    for label, (number, needed) in wanted.items():
        if number < needed:
            keys = f"rollout.groups_per_step={settings.groups_per_step}{share}"
            return (
                f"{counted(number, f'{label}record')}, but each step needs {needed} ({keys}): "
                "lower groups_per_step or bring more records"
            )
    return ""
