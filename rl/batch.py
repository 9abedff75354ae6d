"""From groups to the batch that one update learns from."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rl.advantages import BY_TERM, advantages
from rl.recipe.config import Recipe
from rollout.roles import RunStopped
from rollout.types import Batch, Group, Sample, Task, TrainingRow
from rollout.types.arrays import TokenValues

_SAME = 1e-9
"""Rewards closer than this are equal: float noise must not be divided by its own deviation."""


class NotFinite(RunStopped):
    """A number that an update would learn from is NaN or infinite: the weights would be, too."""


def is_flat(group: Group) -> bool:
    """Whether a group's rewards are all alike; one with fewer than two was lost to failures and says nothing."""
    return len(group.rewards) > 1 and not _differ(group.rewards)


def has_learning_signal(group: Group, recipe: Recipe) -> bool:
    """Whether what the recipe's estimator compares differs within a group: the totals, or one of the terms."""
    if recipe.algorithm.advantage != BY_TERM:
        return _differ(group.rewards)
    terms = [sample.reward.terms for sample in group.valid if sample.reward is not None]
    return any(_differ([values[name] for values in terms]) for name in weights_of(recipe))


def is_enough(group: Group, recipe: Recipe) -> bool:
    """Whether so many samples of a group are valid that the others may be compared with them."""
    return len(group.valid) >= recipe.rollout.fewest_valid


def learnable(groups: Sequence[Group], recipe: Recipe) -> list[Group]:
    """Return the groups that may be learned from.

    A group with too few valid samples never reaches the estimator: verl's GRPO would give a lone
    survivor its raw reward as advantage.
    """
    enough = [group for group in groups if is_enough(group, recipe)]
    if recipe.algorithm.filter_zero_variance:
        return [group for group in enough if has_learning_signal(group, recipe)]
    return enough if any(has_learning_signal(group, recipe) for group in enough) else []


def make_batch(groups: Sequence[Group], recipe: Recipe) -> Batch | None:
    """Return the batch of all valid samples, sorted by (task, sample); None when there is nothing to learn.

    Raises `NotFinite` with the sample that brought such a number.
    """
    rows = tuple(
        _row(task, sample, values)
        for task, sample, values in with_advantages(groups, recipe)
        if not is_masked(sample, recipe)
    )
    return Batch(rows, temperature=recipe.rollout.temperature) if rows else None


def with_advantages(groups: Sequence[Group], recipe: Recipe) -> Iterator[tuple[Task, Sample, TokenValues]]:
    """Yield every valid sample with its advantages, one per response token, sorted by (task, sample).

    Masked samples are among them: they are compared with the others, though nothing is learned from them.
    """
    if not groups:
        return
    ordered = sorted(groups, key=lambda group: group.task.id)
    settings = recipe.algorithm
    values = advantages(
        ordered, settings.advantage, normalise_by_std=settings.normalise_by_std, weights=weights_of(recipe)
    )
    valid = [(group.task, sample) for group in ordered for sample in group.valid]
    for (task, sample), advantage in zip(valid, values, strict=True):
        yield task, sample, advantage


def is_masked(sample: Sample, recipe: Recipe) -> bool:
    """Whether nothing is learned from a valid sample: its answer was cut off, and the recipe masks such ones."""
    is_truncated = sample.evidence is not None and sample.evidence.response.is_truncated
    return recipe.algorithm.overlong == "mask" and is_truncated


def batch_metrics(groups: Sequence[Group], recipe: Recipe) -> Mapping[str, float]:
    """Return how many of a step's groups were refills and what of the rest is learned from, keyed `batch/...`."""
    chosen = learnable(groups, recipe)
    enough = [group for group in groups if is_enough(group, recipe)]
    return {
        "batch/refilled_groups": float(max(0, len(groups) - recipe.rollout.groups_per_step)),
        "batch/too_few_valid_groups": float(len(groups) - len(enough)),
        "batch/zero_variance_groups": float(sum(not has_learning_signal(group, recipe) for group in enough)),
        "batch/learned_groups": float(len(chosen)),
        "batch/masked_samples": float(sum(is_masked(sample, recipe) for group in chosen for sample in group.valid)),
    }


def weights_of(recipe: Recipe) -> dict[str, float]:
    """Return the weights of the reward's terms that weigh something, by name."""
    return {term.key: term.weight for term in recipe.reward.terms if term.weight != 0}


def _differ(rewards: Sequence[float]) -> bool:
    return len(rewards) > 1 and max(rewards) - min(rewards) > _SAME


def _row(task: Task, sample: Sample, advantage: TokenValues) -> TrainingRow:
    assert sample.evidence is not None
    response = sample.evidence.response
    whose = f"sample {sample.index} of task {task.id}, drawn by version {response.policy_version}"
    for name, values in (("sampler's log-prob", response.logprobs), ("advantage", advantage)):
        if not np.isfinite(values).all():
            token = int(np.argmin(np.isfinite(values)))
            raise NotFinite(
                f"{whose}: the {name} of token {token} of {len(values)} is {values[token]}; nothing was learned from it"
            )
    return TrainingRow(
        images=(task.before, task.after),
        prompt_token_ids=response.prompt_token_ids,
        token_ids=response.token_ids,
        advantages=advantage,
        rollout_logprobs=response.logprobs,
        name=whose,
    )
