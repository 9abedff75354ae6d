"""What an estimator of advantages may ask for, and one of the user's own, found: without torch and verl."""

import inspect
from collections.abc import Callable
from typing import Any

from rewards.compose import RewardError, import_function
from rl.recipe.config import ADVANTAGES, UNFIT_ADVANTAGES
from rollout.text.limits import is_own

OFFERED = ("token_level_rewards", "response_mask", "index", "norm_adv_by_std_in_grpo")
"""What an estimator of verl may ask us for, by its names."""


def check_estimator_name(estimator: str) -> None:
    """Raise ValueError for what asks for more than we have, and a function of the user's own that is not there.

    `rl.advantages.check_estimator` says the same of what verl has registered.
    """
    if estimator in UNFIT_ADVANTAGES:
        fit = ", ".join(name for name in ADVANTAGES if name not in UNFIT_ADVANTAGES)
        raise ValueError(f"algorithm.advantage {estimator!r} asks for more than we have; expected one of {fit}")
    if is_own(estimator):
        check_parameters(estimator, own_estimator(estimator))


def own_estimator(path: str) -> Callable[..., Any]:
    """Return the function that a recipe names. Raises ValueError where it is not there."""
    try:
        return import_function(path)
    except RewardError as error:
        raise ValueError(f"algorithm.advantage is {path!r}: {error.detail}") from error


def check_parameters(estimator: str, function: Callable[..., Any]) -> None:
    """Raise ValueError for an estimator that needs more than `OFFERED`."""
    parameters = inspect.signature(function).parameters.values()
    missing = [p.name for p in parameters if p.name not in OFFERED and p.default is p.empty and p.kind != p.VAR_KEYWORD]
    if missing:
        raise ValueError(f"algorithm.advantage {estimator!r} needs {', '.join(missing)}, which we do not have")
