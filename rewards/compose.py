"""Turn a recipe's list of weighted terms into one function of the evidence.

The terms themselves are functions in `accuracy.py`, `format.py`, `stepwise.py` and `verdict.py`, or anybody's.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Gt, Le

from rewards.functions.import_path import FunctionError, is_builtin, load_function, name_of
from rollout.text.foreign import error_text, value_text, writable
from rollout.types import Evidence, Reward

_RESERVED = ("mean", "std", "group", "group_std", "total", "advantage")
"""Taken in `reward/...` and in the table of rescored samples; a term `group` would produce `group_std`."""

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})

_ROOT = Path(__file__).resolve().parents[1]
_MACHINERY = (
    *(f"{_ROOT / package}{os.sep}" for package in ("actors", "data", "rl", "rollout", "rewards/functions")),
    __file__,
)
"""Our code that calls the user's: a place in it tells a user nothing."""

RewardFunction = Callable[[Evidence], Any]
"""Returns a float, or a coroutine of one if it is `async def`."""


class RewardError(ValueError):
    """A term returned no number; `kind` is a stable name to count by: import, raised, not_number, hung or died."""

    def __init__(self, kind: str, fn: str, detail: str):
        self.kind, self.fn, self.detail = kind, fn, writable(detail)
        super().__init__(f"reward term {fn}: {self.detail}")

    def __reduce__(self) -> tuple[type[RewardError], tuple[str, str, str]]:
        return RewardError, (self.kind, self.fn, self.detail)


@dataclass(frozen=True)
class TermConfig:
    """One term of a reward."""

    fn: str = "???"
    """A function of the evidence: `package.module.function`, or in a file: `./my_rewards.py:function`."""
    weight: float = 1.0
    name: str = ""
    """Name in metrics and ledger; empty: the function's own name."""
    timeout_s: Annotated[float, Gt(0), Le(1e9)] = 10.0
    """A function that is not built in is killed if it takes longer, and its sample fails."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise ValueError(f"reward term {self.fn}: weight is {self.weight}, expected a finite number")
        if not self.timeout_s > 0:
            raise ValueError(f"reward term {self.fn}: timeout_s is {self.timeout_s}, expected more than 0")

    @property
    def is_format(self) -> bool:
        """Whether this is the format term, which evaluation leaves out."""
        return self.fn == "rewards.format.is_parsed"

    @property
    def is_builtin(self) -> bool:
        """Whether the function is built in, and so trusted not to hang."""
        return is_builtin(self.fn)

    @property
    def key(self) -> str:
        return sys.intern(self.name or name_of(self.fn))  # one object: each reward is kept, and sent, with its names


@dataclass(frozen=True)
class WeightedSum:
    """A callable, evidence -> `Reward`, in this process; picklable, since it names its functions by import path.

    `actors.user_functions.runner.RewardRunner` is its counterpart for functions that may hang.
    """

    terms: Sequence[TermConfig]
    _functions: dict[str, RewardFunction] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_term_names(self.terms)
        for term in self.terms:
            self._functions[term.key] = import_function(term.fn)

    def __call__(self, evidence: Evidence) -> Reward:
        """Return the terms and their weighted sum. Raises `RewardError` naming a term that returns no finite number."""
        values = {term.key: self._value(term, evidence) for term in self.terms}
        return Reward(values, weighted_total(values, self.weights))

    def __reduce__(self) -> tuple[type[WeightedSum], tuple[Sequence[TermConfig]]]:
        return WeightedSum, (self.terms,)

    @property
    def weights(self) -> dict[str, float]:
        return {term.key: term.weight for term in self.terms}

    def _value(self, term: TermConfig, evidence: Evidence) -> float:
        function = self._functions[term.key]
        try:
            value = function(evidence)
        except Exception as error:
            raise RewardError("raised", term.fn, raised(error)) from error
        return checked(value, term.fn)


def check_term_names(terms: Sequence[TermConfig]) -> None:
    """Raise ValueError if two terms share a name, or a term has the name of another metric."""
    keys = [term.key for term in terms]
    for key in keys:
        if key in _RESERVED or key.removesuffix("_std") in {*keys} - {key}:
            raise ValueError(
                f"a reward term cannot be called {key}: metrics and tables already use that name (taken are "
                f"{', '.join(_RESERVED)}, and another term's name with _std); set another `name`"
            )
    if len(set(keys)) != len(keys):
        raise ValueError(f"reward terms need distinct names, found {keys}; set `name` on one of them")


def checked(value: object, fn: str) -> float:
    """Return a term's value as a float. Raises `RewardError` for anything but a finite number.

    >>> checked(1, "f")
    1.0
    """
    if inspect.iscoroutine(value):
        value.close()  # else Python warns that it was never awaited
        raise RewardError("not_number", fn, "returned a coroutine; declare the function with `async def`")
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RewardError("not_number", fn, f"returned {value_text(value)[:200]}, expected a finite number")
    return number


def why_not_loaded(error: Exception) -> str:
    """Return why a function or class of a path could not be loaded (`rewards.functions.import_path`)."""
    return error_text(error) if isinstance(error, FunctionError) else f"its module {raised(error)}"


def raised(error: BaseException) -> str:
    """Return what a function raised, and where: the innermost frame in the user's code, not in a library."""
    return f"raised {type(error).__name__}: {said(error)}"


def said(error: BaseException) -> str:
    """Return an error's text and where it was raised: the innermost frame in the user's code, else in a library.

    One that no code of theirs raised (a call that does not fit, an answer of another type) has no place: ours is none.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return writable(f"{error.msg} ({error.filename}:{error.lineno})")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_MACHINERY)]
    theirs = [frame for frame in frames if not frame.filename.startswith(("<", *_LIBRARIES))]
    place = next((f" ({frame.filename}:{frame.lineno})" for frame in reversed(theirs or frames)), "")
    return f"{error_text(error)[:300]}{writable(place)}"


def weighted_total(terms: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the weighted sum of named terms.

    >>> weighted_total({"format": 1.0, "gain": 0.5}, {"format": 0.5, "gain": 0.3})
    0.65
    """
    return math.fsum(weights[name] * value for name, value in terms.items())


def weighted_mean(terms: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Return the mean of the terms that have a weight: in [0, 1] for terms in [0, 1] and positive weights.

    A term with a negative weight is a penalty: the sum is divided by the sum of the absolute weights.

    >>> round(weighted_mean({"format": 1, "accuracy": 1, "gain": 0.5}, {"accuracy": 0.1, "gain": 0.4}), 3)
    0.6
    >>> weighted_mean({"gain": 0.5, "length": 1.0}, {"gain": 0.5, "length": -0.5})
    -0.25
    """
    return weighted_total({name: terms[name] for name in weights}, weights) / math.fsum(map(abs, weights.values()))


def import_function(path: str) -> RewardFunction:
    """Return the function at an import path or in a file. Raises `RewardError` that says what is wrong."""
    try:
        return load_function(path)
    except Exception as error:
        raise RewardError("import", path, why_not_loaded(error)) from error
