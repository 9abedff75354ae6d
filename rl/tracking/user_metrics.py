"""Metrics of the user's own (`tracking.metrics`): functions of a step's groups, called in a thread beside the loop.

This project's own are in `group_metrics.py`, those of an update in `actors/policy/update_metrics.py`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewards.compose import RewardError, checked, raised, why_not_loaded
from rewards.functions.import_path import load_function
from rollout.text.marks import is_unicode
from rollout.types import Group

OwnMetric = Callable[[Sequence[Group]], Mapping[str, float]]


def load_metric(path: str) -> OwnMetric:
    """Return the function that a recipe names. Raises ValueError where it is not there."""
    try:
        return load_function(path)
    except Exception as error:
        raise ValueError(f"tracking.metrics has {path}: {why_not_loaded(error)}") from error


def user_metrics(
    functions: Mapping[str, OwnMetric], groups: Sequence[Group], taken: Mapping[str, object]
) -> tuple[dict[str, float], list[str]]:
    """Return what the functions say of a step, and a sentence about each that failed: it costs its metrics alone."""
    found: dict[str, float] = {}
    wrong = []
    for path, function in functions.items():
        try:
            names = taken.keys() | found.keys()
            values = {_key(key, names): checked(value, key) for key, value in _called(function, groups)}
        except RewardError as error:
            wrong.append(f"{path}: {error.fn} {error.detail}")
        except Exception as error:
            wrong.append(f"{path} {raised(error)}")
        else:
            found |= values
    return found, wrong


def _called(function: OwnMetric, groups: Sequence[Group]) -> Any:
    answer = function(groups)
    if not isinstance(answer, Mapping):
        raise TypeError(f"it returned a {type(answer).__name__}, expected a mapping of names like area/name to numbers")
    return answer.items()


def _key(key: object, taken: Any) -> str:
    if not isinstance(key, str) or "/" not in key.strip("/") or not is_unicode(key):
        raise ValueError(f"a metric is called {key!r}; expected a name like area/name")
    if key in taken:
        raise ValueError(f"a metric is called {key}, as another one is; give it an area of its own")
    return key
