"""Alerts on collapse: a number that left its range for a while, said once, with what to look at."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from rl.recipe.alerts import NAMES, AlertConfig, Limit
from rollout.roles import RunStopped


class Collapsed(RunStopped):
    """An alert that the recipe's `tracking.stop_on` names went off; the run was saved and stopped."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert that has just gone off."""

    name: str
    text: str
    """The number, the limit and what to look at."""


_RULES: dict[str, tuple[str, bool, str]] = {
    "entropy_below": ("policy/entropy", False, "lower policy.lr, or raise algorithm.loss.kl_coef or entropy_coef"),
    "reward_drop": ("reward/mean", True, "look at reward/* by term, policy/reference_kl and policy/clip_fraction"),
    "failure_share_above": ("rollout/failure_share", True, "look at failures/* for the stage"),
    "parse_rate_below": ("critique/parse_rate", False, "look at format_errors/* and response/truncated_share"),
    "grad_norm_above": ("policy/grad_norm", True, "lower policy.lr, or look at policy/sampler_gap_max"),
    "grad_norm_not_finite": ("policy/grad_norm", True, "look at policy/loss and policy/sampler_gap_max of this step"),
    "correction_clipped_above": (
        "policy/correction_clipped",
        True,
        "lower max_staleness or policy.lr, or look at policy/sampler_gap_mean and staleness/mean",
    ),
    "starved_share_above": (
        "rollout/starved_share",
        True,
        "the policy waits for rollouts: give samplers or the generator more devices, or raise max_staleness",
    ),
    "zero_variance_share_above": (
        "rollout/zero_variance_share",
        True,
        "look at rollout/zero_variance_share_* for the label, and at the tasks' difficulty",
    ),
    "samplers_lost_above": (
        "publish/lost_samplers",
        True,
        "the others go on; one that comes back gets its weights with the next publish, so look for lost nodes",
    ),
}
"""Alert -> its metric, whether high is bad, and what to look at."""


class Alerts:
    """Watches rows of metrics. An alert goes off once and again only after it has recovered."""

    def __init__(self, config: AlertConfig):
        limits = {name: getattr(config, name) for name in NAMES if name != "grad_norm_not_finite"}
        if config.grad_norm_not_finite:
            limits["grad_norm_not_finite"] = Limit(math.inf, 1)
        self._watches = {name: _Watch(name, limit) for name, limit in limits.items() if limit.limit}

    def observe(self, row: Mapping[str, float]) -> list[Alert]:
        """Take in the metrics of one step and return the alerts that go off by it."""
        return [alert for watch in self._watches.values() if (alert := watch.observe(row)) is not None]

    def rearm(self, names: Iterable[str]) -> None:
        """Let alerts go off again, by values from now on alone; what they compare with, as the best reward, stays."""
        for name in set(names) & self._watches.keys():
            self._watches[name].rearm()

    def flags(self) -> dict[str, float]:
        """Return 1 for each alert that is on and 0 for the others, keyed `alerts/...`."""
        return {f"alerts/{name}": float(watch.is_on) for name, watch in self._watches.items()}


class _Watch:
    def __init__(self, name: str, limit: Limit):
        assert limit.limit is not None
        self.is_on = False
        self._name, self._limit = name, limit.limit
        self._key, self._is_high_bad, self._advice = _RULES[name]
        self._values: deque[float] = deque(maxlen=limit.window)
        self._best = -math.inf

    def observe(self, row: Mapping[str, float]) -> Alert | None:
        if self._key not in row:  # a step without an update says nothing about the policy
            return None
        self._values.append(row[self._key])
        if len(self._values) < (self._values.maxlen or 1):
            return None
        was_on, value = self.is_on, self._value()
        self.is_on = self._is_bad(value)
        return Alert(self._name, self._text(value)) if self.is_on and not was_on else None

    def rearm(self) -> None:
        self.is_on = False
        self._values.clear()

    def _value(self) -> float:
        mean = fmean(self._values)
        if self._name != "reward_drop":
            return mean
        self._best = max(self._best, mean)
        return self._best - mean

    def _is_bad(self, value: float) -> bool:
        """Whether the value is beyond the limit; NaN is."""
        if self._name == "grad_norm_not_finite":
            return not math.isfinite(value)
        return not (value <= self._limit if self._is_high_bad else value >= self._limit)

    def _text(self, value: float) -> str:
        over = f"over {len(self._values)} steps" if len(self._values) > 1 else "in this step"
        if self._name == "reward_drop":
            what = f"{self._key} fell by {value:.3g} from its best {over} (limit {self._limit:g})"
        elif self._name == "grad_norm_not_finite":
            what = f"{self._key} is {value}"
        else:
            side = "above" if self._is_high_bad else "below"
            what = f"{self._key} is {value:.3g} {over}, {side} {self._limit:g}"
        return f"{self._name}: {what}; {self._advice}"
