"""The split of the GPUs over policy, samplers and generators that a simulation finds best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from rl.plan.devices import Devices
from rl.plan.memory import RoleMemory
from rl.plan.placement import place, roles_of
from rl.plan.rules import rules_of
from rl.plan.stage_times import Work
from rl.plan.stages import Prediction, Stages, drawing_seconds, learning_seconds, predict
from rl.recipe.config import Recipe

_SIMULATED = 12
"""Splits that are simulated: those whose stages alone would be fastest."""


@dataclass(frozen=True)
class Split:
    """Processes of the three roles that have models."""

    ranks: int
    samplers: int
    generators: int

    def __str__(self) -> str:
        return (
            f"policy.num_ranks={self.ranks} samplers.num_samplers={self.samplers} "
            f"generator.num_replicas={self.generators}"
        )

    def applied(self, recipe: Recipe) -> Recipe:
        """Return the recipe with this split. Raises ValueError for one that it cannot have."""
        return replace(
            recipe,
            policy=replace(recipe.policy, num_ranks=self.ranks),
            samplers=replace(recipe.samplers, num_samplers=self.samplers),
            generator=replace(recipe.generator, num_replicas=self.generators, min_replicas=0, max_replicas=0),
        )


def split_of(recipe: Recipe) -> Split:
    """Return a recipe's own split."""
    return Split(recipe.policy.num_ranks, recipe.samplers.num_samplers, recipe.generator.num_replicas)


def best_split(
    recipe: Recipe,
    devices: Devices,
    stages_of: Callable[[Recipe], Stages],
    memory_of: Callable[[Recipe], list[RoleMemory]],
) -> tuple[Split, Prediction] | None:
    """Return the fastest split that has room and memory, the one with fewest GPUs of equals; None if none has.

    None, too, where policy or samplers take no GPU: there is nothing to split.
    """
    if not recipe.policy.gpus_per_rank or not recipe.samplers.gpus_per_sampler or not devices.num_gpus:
        return None
    found: list[tuple[float, float, Split, Prediction]] = []
    for split in _by_least_seconds(recipe, devices, stages_of):
        changed = split.applied(recipe)
        placement = place(roles_of(changed), devices, changed.colocated)
        if placement.lacks or not all(role.fits for role in memory_of(changed)):
            continue
        prediction = predict(rules_of(changed), stages_of(changed), takes_turns=changed.is_colocated)
        found.append((round(prediction.step_s, 1), placement.num_gpus, split, prediction))
        if len(found) == _SIMULATED:
            break
    if not found:
        return None
    _, _, split, prediction = min(found, key=lambda one: one[:2])
    return split, prediction


def _by_least_seconds(recipe: Recipe, devices: Devices, stages_of: Callable[[Recipe], Stages]) -> list[Split]:
    """Return the splits that the GPUs are enough for, those first whose stages alone would be fastest."""
    own, total = split_of(recipe), devices.num_gpus
    one = replace(own, samplers=1) if recipe.is_colocated else own
    learning = {
        ranks: learning_seconds(stages_of(changed))
        for ranks, changed in _changed(recipe, [replace(one, ranks=ranks) for ranks in _sizes(total)], "ranks")
    }
    sampling = {
        number: drawing_seconds(rules_of(changed), stages_of(changed))
        for number, changed in _changed(
            recipe, [_with_samplers(recipe, own, number) for number in range(1, total + 1)], "samplers"
        )
    }
    making = _making(recipe, stages_of(recipe))
    has_cards = recipe.generator.gpus_of_each > 0
    replicas = range(1, total + 1) if has_cards else [recipe.generator.num_replicas]
    known = []
    for ranks, learn in learning.items():
        for number, sample in sampling.items():
            for count in replicas:
                split = Split(ranks, number, count)
                if _gpus(recipe, split) <= total and (number <= ranks or not recipe.is_colocated):
                    known.append((_least(recipe, sample, making / max(1, count), learn), split))
    known.sort(key=lambda one: one[0])
    return [split for _, split in known]


def _changed(recipe: Recipe, splits: Sequence[Split], field: str) -> Iterator[tuple[int, Recipe]]:
    """Yield a number of processes and the recipe with it, where it may have it."""
    for split in splits:
        with suppress(ValueError):  # not a multiple of what has to divide it
            yield getattr(split, field), split.applied(recipe)


def _with_samplers(recipe: Recipe, split: Split, number: int) -> Split:
    """Return a split with so many samplers, and where they take turns with ranks, as many of these."""
    return replace(split, samplers=number, ranks=max(number, split.ranks) if recipe.is_colocated else split.ranks)


def _sizes(total: int) -> list[int]:
    """Return numbers of ranks worth trying: all small ones, then those that fill nodes."""
    return [size for size in range(1, total + 1) if size <= 8 or size % 8 == 0]


def _gpus(recipe: Recipe, split: Split) -> float:
    samplers = 0 if recipe.is_colocated else split.samplers
    return (
        split.ranks * recipe.policy.gpus_per_rank
        + samplers * recipe.samplers.gpus_per_sampler
        + split.generators * recipe.generator.gpus_of_each
    )


def _making(recipe: Recipe, stages: Stages) -> float:
    """Return the seconds that one generator takes for a step's images."""
    return recipe.rollout.groups_per_step * recipe.rollout.n * stages.edited_share * stages.seconds(Work.GENERATE)


def _least(recipe: Recipe, sampling: float, making: float, learning: float) -> float:
    """Return what a step takes at least: its busiest stage, or with no lead the stages that wait for each other."""
    way = sampling + making + learning
    turns = sampling + learning if recipe.is_colocated else 0.0
    # A step's way from its first response to its publish may take as long as so many steps.
    return max(sampling, making, learning, turns, way / (recipe.max_staleness + 1))
