"""Advantages by verl's registered estimators."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np
import torch
from verl.trainer.ppo import core_algos

from rollout.types import Group


def advantages(groups: Sequence[Group], estimator: str, *, normalise_by_std: bool = True) -> list[list[float]]:
    """Return one list per valid sample, in order of groups and samples, with one advantage per response token.

    Failed samples are in neither the baseline nor the result. The reward stands on the last token, as
    verl's outcome estimators expect. Raises ValueError for an estimator that needs more than rewards.
    """
    samples = [(index, sample) for index, group in enumerate(groups) for sample in group.valid]
    lengths = [len(sample.evidence.response.token_ids) for _, sample in samples if sample.evidence]
    rewards = torch.zeros(len(samples), max(lengths))
    mask = torch.zeros_like(rewards)
    for row, ((_, sample), length) in enumerate(zip(samples, lengths, strict=True)):
        assert sample.reward is not None
        rewards[row, length - 1] = sample.reward.total
        mask[row, :length] = 1
    offered = {
        "token_level_rewards": rewards,
        "response_mask": mask,
        "index": np.array([index for index, _ in samples]),
        "norm_adv_by_std_in_grpo": normalise_by_std,
    }
    values, _ = _call(estimator, offered)
    return [values[row, :length].tolist() for row, length in enumerate(lengths)]


def _call(name: str, offered: dict) -> tuple[torch.Tensor, torch.Tensor]:
    known = core_algos.ADV_ESTIMATOR_REGISTRY
    if name not in known:
        raise ValueError(f"algorithm.advantage is {name!r}; verl knows {', '.join(sorted(known))}")
    estimator = known[name]
    parameters = inspect.signature(estimator).parameters
    missing = [
        key
        for key, parameter in parameters.items()
        if key not in offered and parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    if missing:
        raise ValueError(f"algorithm.advantage {name!r} needs {', '.join(missing)}, which a critic-free rollout lacks")
    return estimator(**{key: value for key, value in offered.items() if key in parameters})
