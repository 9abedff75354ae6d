"""A user-defined policy loss (`algorithm.loss.policy_loss: my_module:my_loss`), called as verl calls its own.

It receives the parameters of `OFFERED` that it names, and returns the loss of each token, shaped like `log_prob` (rows,
tokens): the recipe's importance weights and aggregation are then applied over the whole mini-batch, however rows
are packed. Or it returns a number that is aggregated already, as verl's losses do. Either may be followed by metrics:
a mapping of names, the same each time, to numbers. A name's suffix `_max`, `_min` or `_sum` says how the values of
micro-batches are combined; all others are means over tokens.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rewards.compose import raised, why_not_loaded
from rewards.functions.import_path import load_function
from rollout.roles import OwnCodeError

OFFERED = (
    *("old_log_prob", "log_prob", "advantages", "response_mask"),
    *("loss_agg_mode", "config", "rollout_is_weights"),
)
"""The arguments that verl passes to a loss; tensors are (rows, tokens), `config` is verl's own."""


def load_user_loss(path: str) -> Callable[..., Any]:
    """Return the function. Raises ValueError if it does not exist, or needs a parameter not in `OFFERED`."""
    try:
        function = load_function(path)
        parameters = inspect.signature(function).parameters.values()
    except Exception as error:
        raise ValueError(f"algorithm.loss.policy_loss is {path!r}: {why_not_loaded(error)}") from error
    missing = [
        p.name
        for p in parameters
        if p.name not in OFFERED and p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if missing:
        raise ValueError(
            f"algorithm.loss.policy_loss {path!r} needs {', '.join(missing)}; a loss may ask for {', '.join(OFFERED)}"
        )
    return function


class UserLoss:
    """A user-defined loss in place of one of verl's; `aggregate` is verl's `agg_loss`."""

    def __init__(self, path: str, aggregate: Callable[..., object]):
        self._path, self._function, self._aggregate = path, load_user_loss(path), aggregate
        parameters = inspect.signature(self._function).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self._wanted = [name for name in OFFERED if takes_all or name in parameters]

    def __call__(self, **given: Any) -> tuple[object, dict[str, float]]:
        """Return the loss as a number, and the metrics. Raises `OwnCodeError` where the function gives neither."""
        try:
            answer = self._function(**{name: given[name] for name in self._wanted})
        except Exception as error:
            raise OwnCodeError(f"algorithm.loss.policy_loss {self._path!r} {raised(error)}") from error
        loss, metrics = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, {})
        if not isinstance(metrics, Mapping) or getattr(loss, "shape", None) not in ((), given["log_prob"].shape):
            raise OwnCodeError(
                f"algorithm.loss.policy_loss {self._path!r} returned {_told(loss)} with {_told(metrics)}; expected a "
                f"tensor of {tuple(given['log_prob'].shape)}, or a single number, and a mapping of metrics"
            )
        if loss.shape:
            weights = given["rollout_is_weights"]
            if weights is not None and "rollout_is_weights" not in self._wanted:
                loss = loss * weights
            settings = given["config"].global_batch_info
            loss = self._aggregate(loss, given["response_mask"], given["loss_agg_mode"], **settings)
        return loss, dict(metrics)


def _told(value: object) -> str:
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + ("" if shape is None else f" of {tuple(shape)}")
