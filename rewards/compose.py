"""A recipe's list of weighted terms, made into one function of the evidence."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rollout.types import Evidence, Reward

RewardFunction = Callable[[Evidence], float]


@dataclass(frozen=True)
class TermConfig:
    """One term of a reward."""

    fn: str = "???"
    """Import path of a function of the evidence: `package.module.function`."""
    weight: float = 1.0
    name: str = ""
    """Name in metrics and ledger; empty: the function's own name."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ValueError(f"reward term {self.fn}: weight is {self.weight}, expected a finite number")

    @property
    def is_format(self) -> bool:
        """Whether this is the format term, which evaluation leaves out."""
        return self.fn == "rewards.format.is_parsed"

    @property
    def key(self) -> str:
        return self.name or self.fn.rpartition(".")[2]


@dataclass(frozen=True)
class WeightedSum:
    """Callable evidence -> `Reward`; picklable, since it names its functions by import path."""

    terms: Sequence[TermConfig]
    _functions: dict[str, RewardFunction] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        keys = [term.key for term in self.terms]
        if len(set(keys)) != len(keys):
            raise ValueError(f"reward terms need distinct names, found {keys}; set `name` on one of them")
        for term in self.terms:
            self._functions[term.key] = import_function(term.fn)

    def __call__(self, evidence: Evidence) -> Reward:
        """Return the terms and their weighted sum. Raises ValueError naming a term that is not a finite number."""
        values: dict[str, float] = {}
        for term in self.terms:
            value = self._functions[term.key](evidence)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"reward term {term.fn} returned {value!r}, expected a finite number")
            values[term.key] = float(value)
        return Reward(values, weighted_total(values, self.weights))

    @property
    def weights(self) -> dict[str, float]:
        return {term.key: term.weight for term in self.terms}


def weighted_total(terms: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the weighted sum of named terms.

    >>> weighted_total({"format": 1.0, "gain": 0.5}, {"format": 0.5, "gain": 0.3})
    0.65
    """
    return math.fsum(weights[name] * value for name, value in terms.items())


def weighted_mean(terms: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the mean of the terms that have a weight: in [0, 1] for terms in [0, 1].

    >>> round(weighted_mean({"format": 1, "accuracy": 1, "gain": 0.5}, {"accuracy": 0.1, "gain": 0.4}), 3)
    0.6
    """
    return weighted_total({name: terms[name] for name in weights}, weights) / math.fsum(weights.values())


def import_function(path: str) -> RewardFunction:
    """Return the function at an import path. Raises ValueError that says which part is missing."""
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ValueError(f"reward function {path!r}: expected an import path like rewards.stepwise.semantic_gain")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"reward function {path!r}: cannot import {module_name} ({error})") from error
    try:
        return getattr(module, name)
    except AttributeError:
        known = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise ValueError(f"reward function {path!r}: {module_name} has no {name}, only {known}") from None
