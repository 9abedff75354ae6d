"""Advantages by verl's registered estimators, or by a function of the user's own that is given the same."""

import inspect
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from rewards.compose import raised
from rewards.functions.import_path import load_function
from rl.estimator_check import OFFERED, check_parameters, own_estimator
from rollout.roles import OwnCodeError
from rollout.text.limits import is_own
from rollout.types import Group, Reward
from rollout.types.arrays import TokenValues, as_token_values, repeated

BY_TERM = "gdpo"
"""The estimator that compares each term of the reward by itself; all others see the total alone."""
_WITHIN_GROUPS = {"grpo", "rloo"}
"""Estimators that look at one group at a time: of many samples a part is computed after the other."""
_GROUPS_AT_ONCE = 64
"""Whole matrices, a row a sample and a column a token, would take more memory than the answers themselves."""
_UNFIT_ESTIMATORS = {
    "reinforce_plus_plus": "it asks for a discount in verl's own configuration; reinforce_plus_plus_baseline does not",
    "grpo_passk": "it asks for verl's own configuration",
}
"""What verl registers and a run would break on, and why."""


def advantages(
    groups: Sequence[Group],
    estimator: str,
    *,
    normalise_by_std: bool = True,
    weights: Mapping[str, float] | None = None,
) -> list[TokenValues]:
    """Return one array per valid sample, in order of groups and samples, with one advantage per response token.

    Failed samples are in neither the baseline nor the result. The reward stands on the last token, as
    verl's outcome estimators expect. `weights` are those of the reward's terms, which gdpo needs.
    `check_estimator` says which estimators there are.
    """
    at_once = _GROUPS_AT_ONCE if estimator in _WITHIN_GROUPS else len(groups)
    return [
        one
        for start in range(0, len(groups), at_once)
        for one in _compared(groups[start : start + at_once], estimator, normalise_by_std, weights)
    ]


def _compared(
    groups: Sequence[Group], estimator: str, normalise_by_std: bool, weights: Mapping[str, float] | None
) -> list[TokenValues]:
    from verl.trainer.ppo import core_algos  # takes seconds, here and below: only where something is computed

    samples = [(index, sample) for index, group in enumerate(groups) for sample in group.valid]
    lengths = [len(sample.evidence.response.token_ids) for _, sample in samples if sample.evidence]
    given = [sample.reward for _, sample in samples if sample.reward is not None]
    ends = torch.tensor(lengths) - 1
    rewards = torch.zeros(len(samples), max(lengths))
    rewards[torch.arange(len(samples)), ends] = torch.tensor([reward.total for reward in given], dtype=torch.float32)
    mask = (torch.arange(max(lengths)) <= ends[:, None]).float()
    index = np.array([index for index, _ in samples])
    offered = dict(zip(OFFERED, (rewards, mask, index, normalise_by_std), strict=True))
    if estimator == BY_TERM:
        assert weights is not None
        offered |= _by_term(given, index, mask, weights)
    is_users = is_own(estimator)
    function = load_function(estimator) if is_users else core_algos.ADV_ESTIMATOR_REGISTRY[estimator]
    wanted = inspect.signature(function).parameters
    try:
        answer = function(**{name: value for name, value in offered.items() if name in wanted})
    except Exception as error:
        if not is_users:
            raise
        raise OwnCodeError(f"algorithm.advantage {estimator!r} {raised(error)}") from error
    values = _checked(answer, estimator, mask) if is_users else answer[0]
    array = as_token_values(np.ascontiguousarray(values.detach().numpy(), np.float32))
    is_one_value = ((array == array[:, :1]) | (mask.numpy() == 0)).all(axis=1)  # by outcome, as most estimators have it
    return [
        repeated(array[row, 0], length) if is_one_value[row] else array[row, :length]
        for row, length in enumerate(lengths)
    ]


def _checked(answer: object, estimator: str, mask: torch.Tensor) -> torch.Tensor:
    """Return what an estimator of the user's own gave: the advantages, or as verl's do a pair with the returns."""
    values = torch.as_tensor(answer[0] if isinstance(answer, tuple) else answer, dtype=torch.float32)
    if values.shape != mask.shape:
        raise OwnCodeError(
            f"algorithm.advantage {estimator!r} returned advantages of {tuple(values.shape)}; expected "
            f"{tuple(mask.shape)}: a row a sample, a column a token"
        )
    if not values[mask.bool()].isfinite().all():
        raise OwnCodeError(f"algorithm.advantage {estimator!r} returned an advantage that is no finite number")
    return values


def _by_term(
    rewards: Sequence[Reward], index: np.ndarray, mask: torch.Tensor, weights: Mapping[str, float]
) -> dict[str, object]:
    """Return what verl's GDPO reads: a column of values for each term, the weights, and where a response ends."""
    columns = {}
    for name in weights:
        values = np.array([reward.terms[name] for reward in rewards])
        for group in np.unique(index):
            # Each starts from its group's least: equal values are then exactly equal in float32 too, where
            # the difference that rounding leaves would be divided by its own deviation.
            values[index == group] -= values[index == group].min()
        columns[name] = values
    return {
        "config": {"gdpo_reward_keys": list(weights), "gdpo_reward_weights": list(weights.values())},
        "non_tensor_batch": columns,
        "batch": {"prompts": mask[:, :0], "attention_mask": mask.long()},
    }


def check_estimator(estimator: str) -> None:
    """Raise ValueError for an estimator that verl does not know or that needs more than we have."""
    from verl.trainer.ppo import core_algos

    known = core_algos.ADV_ESTIMATOR_REGISTRY
    if estimator not in known and not is_own(estimator):
        raise ValueError(f"algorithm.advantage is {estimator!r}; verl knows {', '.join(sorted(known))}")
    check_parameters(estimator, own_estimator(estimator) if is_own(estimator) else known[estimator])
    if why := _UNFIT_ESTIMATORS.get(estimator):
        raise ValueError(f"algorithm.advantage {estimator!r} cannot be used here: {why}")
