"""Functions that gather evidence: `look(before, after, instruction)`, from PIL images and a text to JSON."""

import inspect
import json
from collections.abc import Callable

from rewards.functions.import_path import FunctionError, load_function

EvidenceFn = Callable[..., object]
"""Must return equal answers for equal arguments."""
_NUM_ARGUMENTS = 3
_OWN_PACKAGES = ("rewards.", "recipes.")


def is_builtin_evidence_function(fn: str) -> bool:
    """Return whether a function is built in, and so trusted not to hang.

    >>> [is_builtin_evidence_function(fn) for fn in ("recipes.shapes.judge.score", "./recipes.py:look", "mine.look")]
    [True, False, False]
    """
    return fn.startswith(_OWN_PACKAGES) and ".py:" not in fn


def load_evidence_function(fn: str) -> EvidenceFn:
    """Return the function. Raises `FunctionError` if it does not exist or cannot gather evidence."""
    function = load_function(fn)
    try:
        inspect.signature(function).bind(*range(_NUM_ARGUMENTS))
    except TypeError:
        raise FunctionError(f"takes {inspect.signature(function)}; it is given (before, after, instruction)") from None
    if inspect.iscoroutinefunction(function):
        raise FunctionError("is async; it runs on its own, so write a plain function")
    return function


def as_json(answer: object) -> object:
    """Return an answer after a JSON round trip, so that a cached answer equals a fresh one.

    >>> as_json({"size": (8, 4)})
    {'size': [8, 4]}
    """
    return json.loads(json.dumps(answer, default=_plain, allow_nan=False))


def _plain(value: object) -> object:
    """Turn arrays and tensors into lists and numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"the answer holds a {type(value).__name__}, which JSON cannot hold")
