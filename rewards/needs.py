"""Rewards declare what they need beyond the judge's scores; the rollout gathers it (a recipe's `evidence`)."""

from collections.abc import Callable
from typing import TypeVar

from rewards.functions.import_path import FunctionError

Function = TypeVar("Function", bound=Callable[..., object])


def needs(*names: str) -> Callable[[Function], Function]:
    """Declare what a reward looks at in `evidence.extra`, by the names of the recipe's `evidence`.

    It is there whenever an image was regenerated; a sample without one has neither `extra` nor `scores`.

    >>> @needs("aesthetic")
    ... def beauty(evidence):
    ...     return evidence.extra.get("aesthetic", 0.0)
    >>> beauty.needs
    ('aesthetic',)
    """
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"needs{names!r}: give the names of the evidence, like needs('aesthetic')")

    def declare(function: Function) -> Function:
        function.needs = names  # type: ignore[attr-defined]  # functions have no typed attributes
        return function

    return declare


def needs_of(function: Callable[..., object]) -> tuple[str, ...]:
    """Return what a function declares to need. Raises `FunctionError` if that is not a tuple of names."""
    wanted = getattr(function, "needs", ())
    if isinstance(wanted, str) or not all(isinstance(name, str) for name in wanted):
        raise FunctionError(f"its needs are {wanted!r}, expected names like ('aesthetic',)")
    return tuple(wanted)
