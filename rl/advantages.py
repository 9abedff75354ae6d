"""Advantages by verl's registered estimators."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np
import torch
from verl.trainer.ppo import core_algos

from rollout.types import Group

_OFFERED = ("token_level_rewards", "response_mask", "index", "norm_adv_by_std_in_grpo")
"""What an estimator of verl may ask us for, by its names."""


def advantages(groups: Sequence[Group], estimator: str, *, normalise_by_std: bool = True) -> list[list[float]]:
    """Return one list per valid sample, in order of groups and samples, with one advantage per response token.

    Failed samples are in neither the baseline nor the result. The reward stands on the last token, as
    verl's outcome estimators expect. `check_names` says which estimators there are.
    """
    samples = [(index, sample) for index, group in enumerate(groups) for sample in group.valid]
    lengths = [len(sample.evidence.response.token_ids) for _, sample in samples if sample.evidence]
    rewards = torch.zeros(len(samples), max(lengths))
    mask = torch.zeros_like(rewards)
    for row, ((_, sample), length) in enumerate(zip(samples, lengths, strict=True)):
        assert sample.reward is not None
        rewards[row, length - 1] = sample.reward.total
        mask[row, :length] = 1
    index = np.array([index for index, _ in samples])
    offered = dict(zip(_OFFERED, (rewards, mask, index, normalise_by_std), strict=True))
    function = core_algos.ADV_ESTIMATOR_REGISTRY[estimator]
    wanted = inspect.signature(function).parameters
    values, _ = function(**{name: value for name, value in offered.items() if name in wanted})
    return [values[row, :length].tolist() for row, length in enumerate(lengths)]


def check_names(estimator: str, policy_loss: str) -> None:
    """Raise ValueError for an estimator or a loss that verl does not know or that needs more than we have."""
    known, losses = core_algos.ADV_ESTIMATOR_REGISTRY, core_algos.POLICY_LOSS_REGISTRY
    if estimator not in known:
        raise ValueError(f"algorithm.advantage is {estimator!r}; verl knows {', '.join(sorted(known))}")
    parameters = inspect.signature(known[estimator]).parameters.values()
    missing = [
        p.name for p in parameters if p.name not in _OFFERED and p.default is p.empty and p.kind != p.VAR_KEYWORD
    ]
    if missing:
        raise ValueError(f"algorithm.advantage {estimator!r} needs {', '.join(missing)}, which we do not have")
    if policy_loss not in losses:
        raise ValueError(f"algorithm.loss.policy_loss is {policy_loss!r}; verl knows {', '.join(sorted(losses))}")
