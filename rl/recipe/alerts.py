"""Settings of the alerts on collapse: a number's range, and for how long it may be out of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from rollout.text.limits import NonNegativeFloat, PositiveInt


@dataclass(frozen=True)
class Limit:
    """Where a mean over the last `window` steps sets off an alert."""

    limit: NonNegativeFloat | None = None
    """0 or null: off."""
    window: PositiveInt = 5
    """Steps."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"an alert's window is {self.window}; expected 1 step or more")


@dataclass(frozen=True)
class AlertConfig:
    """What a healthy run stays clear of. Each field is an alert's name."""

    entropy_below: Limit = field(default_factory=lambda: Limit(0.02))
    """policy/entropy, nats a token: the policy says one thing only."""
    reward_drop: Limit = field(default_factory=lambda: Limit(0.1, 10))
    """How far reward/mean is below the best it was over as many steps."""
    failure_share_above: Limit = field(default_factory=lambda: Limit(0.1, 3))
    """rollout/failure_share: samples lost to infrastructure."""
    parse_rate_below: Limit = field(default_factory=lambda: Limit(0.8, 3))
    """critique/parse_rate."""
    grad_norm_above: Limit = field(default_factory=lambda: Limit(None, 3))
    """policy/grad_norm, before clipping; what is large depends on the model."""
    zero_variance_share_above: Limit = field(default_factory=lambda: Limit(0.9))
    """rollout/zero_variance_share: groups whose rewards are all alike."""
    correction_clipped_above: Limit = field(default_factory=lambda: Limit(0.1, 3))
    """policy/correction_clipped: tokens whose weight algorithm.loss.rollout_correction_limit cuts."""
    starved_share_above: Limit = field(default_factory=lambda: Limit(0.6))
    """rollout/starved_share: of a step, waiting for rollouts although they may run ahead (max_staleness above 0)."""
    samplers_lost_above: Limit = field(default_factory=lambda: Limit(0.5, 1))
    """publish/lost_samplers: those that a publish left out because their process or node was gone."""
    grad_norm_not_finite: bool = True
    """policy/grad_norm is NaN or infinite, once."""


NAMES = tuple(field.name for field in fields(AlertConfig))


def check_alert_names(names: Iterable[str]) -> None:
    """Raise ValueError for a name that is no alert's."""
    if unknown := sorted(set(names) - set(NAMES)):
        raise ValueError(f"tracking.stop_on has {', '.join(unknown)}; the alerts are {', '.join(NAMES)}")
