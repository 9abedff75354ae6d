"""From groups to the batch that one update learns from."""

from __future__ import annotations

from collections.abc import Sequence

from rl.advantages import advantages
from rl.config import Recipe
from rollout.types import Batch, Group, Row

_SAME = 1e-9
"""Rewards closer than this are equal: float noise must not be divided by its own deviation."""


def has_variance(group: Group) -> bool:
    """Whether the rewards of a group differ, so that there is something to compare."""
    rewards = group.rewards
    return len(rewards) > 1 and max(rewards) - min(rewards) > _SAME


def learnable(groups: Sequence[Group], recipe: Recipe) -> list[Group]:
    """Return the groups that may be learned from.

    A group with too few valid samples never reaches the estimator: verl's GRPO would give a lone
    survivor its raw reward as advantage.
    """
    enough = [group for group in groups if len(group.valid) >= recipe.rollout.fewest_valid]
    if recipe.algorithm.filter_zero_variance:
        return [group for group in enough if has_variance(group)]
    return enough if any(has_variance(group) for group in enough) else []


def make_batch(groups: Sequence[Group], recipe: Recipe) -> Batch | None:
    """Return the batch of all valid samples, sorted by (task, sample); None when there is nothing to learn."""
    if not groups:
        return None
    ordered = sorted(groups, key=lambda group: group.task.id)
    values = advantages(ordered, recipe.algorithm.advantage, normalise_by_std=recipe.algorithm.normalise_by_std)
    valid = [(group.task, sample) for group in ordered for sample in group.valid]
    rows = []
    for (task, sample), advantage in zip(valid, values, strict=True):
        assert sample.evidence is not None
        response = sample.evidence.response
        rows.append(
            Row(
                images=(task.before, task.after),
                prompt_token_ids=response.prompt_token_ids,
                token_ids=response.token_ids,
                advantages=tuple(advantage),
                rollout_logprobs=response.logprobs,
            )
        )
    return Batch(tuple(rows), temperature=recipe.rollout.temperature)
