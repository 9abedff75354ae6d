"""Alerts go off once, say why, and recover."""

import math
from dataclasses import replace

import pytest

from rl.recipe.alerts import NAMES, AlertConfig, Limit, check_alert_names
from rl.tracking.alerts import Alerts

OFF = AlertConfig(*(Limit() for _ in NAMES[:-1]), grad_norm_not_finite=False)


def fired(config: AlertConfig, key: str, values: list[float]) -> list[list[str]]:
    """Return, for each value of a metric in turn, the names of the alerts that it sets off."""
    alerts = Alerts(config)
    return [[alert.name for alert in alerts.observe({key: value})] for value in values]


@pytest.mark.parametrize(
    ("name", "key", "limit", "good", "bad"),
    [
        ("entropy_below", "policy/entropy", 0.1, 0.15, 0.02),
        ("failure_share_above", "rollout/failure_share", 0.3, 0.2, 0.5),
        ("parse_rate_below", "critique/parse_rate", 0.8, 0.99, 0.5),
        ("grad_norm_above", "policy/grad_norm", 10.0, 1.0, 100.0),
        ("zero_variance_share_above", "rollout/zero_variance_share", 0.5, 0.4, 1.0),
    ],
)
def test_an_alert_goes_off_once_until_it_has_recovered(name, key, limit, good, bad):
    config = replace(OFF, **{name: Limit(limit, 2)})  # the mean of one good and one bad step is bad in each case
    assert fired(config, key, [bad, bad, bad, good, good, good, bad]) == [[], [name], [], [], [], [], [name]]


def test_the_mean_over_the_window_is_compared_and_a_full_window_waited_for():
    config = replace(OFF, entropy_below=Limit(0.1, 3))
    assert fired(config, "policy/entropy", [0.0, 0.0, 0.31, 0.0, 0.0]) == [[], [], [], [], []]
    assert fired(config, "policy/entropy", [0.0, 0.0, 0.29]) == [[], [], ["entropy_below"]]


def test_a_fall_from_the_best_is_found_wherever_the_run_began():
    config = replace(OFF, reward_drop=Limit(0.2, 2))
    values = [-0.5, -0.5, 0.1, 0.3, 0.3, 0.2, 0.05, 0.05, -0.5, 0.3, 0.3]
    # means:       -0.5  -0.2  0.2  0.3  0.25  0.125  0.05  -0.225 ...
    assert [bool(names) for names in fired(config, "reward/mean", values)] == [False] * 7 + [True] + [False] * 3


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_no_number_is_said_at_once(value):
    assert fired(AlertConfig(), "policy/grad_norm", [1.0, value, value, 1.0]) == [[], ["grad_norm_not_finite"], [], []]


def test_nan_is_beyond_every_limit():
    assert fired(replace(OFF, entropy_below=Limit(0.1, 1)), "policy/entropy", [math.nan]) == [["entropy_below"]]


def test_an_alert_says_the_number_the_limit_and_what_to_look_at():
    (alert,) = Alerts(replace(OFF, parse_rate_below=Limit(0.8, 1))).observe({"critique/parse_rate": 0.5})
    assert alert.text.startswith("parse_rate_below: critique/parse_rate is 0.5 in this step, below 0.8; look at")
    assert "format_errors/" in alert.text


def test_flags_say_what_is_on_and_steps_without_the_metric_change_nothing():
    alerts = Alerts(replace(OFF, entropy_below=Limit(0.1, 1)))
    alerts.observe({"policy/entropy": 0.0})
    assert alerts.observe({"reward/mean": 1.0}) == []
    assert alerts.flags() == {"alerts/entropy_below": 1.0}
    alerts.observe({"policy/entropy": 0.2})
    assert alerts.flags() == {"alerts/entropy_below": 0.0}


@pytest.mark.parametrize("limit", [0.0, None])
def test_no_limit_is_no_alert(limit):
    alerts = Alerts(replace(OFF, zero_variance_share_above=Limit(limit, 1)))
    assert alerts.observe({"rollout/zero_variance_share": 1.0}) == []
    assert alerts.flags() == {}


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="window is 0"):
        Limit(0.1, 0)
    with pytest.raises(ValueError, match="stop_on has entropy; the alerts are entropy_below"):
        check_alert_names(["entropy"])


def test_an_alert_that_is_on_goes_off_again_only_by_a_new_window_once_it_is_rearmed():
    alerts = Alerts(AlertConfig(parse_rate_below=Limit(0.8, 2)))
    bad = {"critique/parse_rate": 0.0}
    assert [len(alerts.observe(bad)) for _ in range(3)] == [0, 1, 0]
    alerts.rearm(["parse_rate_below", "grad_norm_above"])  # the second one is off altogether
    assert alerts.flags()["alerts/parse_rate_below"] == 0.0
    assert [len(alerts.observe(bad)) for _ in range(3)] == [0, 1, 0]


def test_the_best_reward_is_known_after_rearming():
    alerts = Alerts(AlertConfig(reward_drop=Limit(0.1, 1)))
    alerts.observe({"reward/mean": 0.9})
    alerts.rearm(["reward_drop"])
    assert [alert.name for alert in alerts.observe({"reward/mean": 0.5})] == ["reward_drop"]
