"""Metrics of the user's own: what they say, and what one that fails costs."""

import pytest

from rl.recipe.jobs import TrackingConfig
from rl.recipe.sft_config import SftRecipe
from rl.tracking.user_metrics import user_metrics
from tests.support.unsayable import UnsayableError, Unshown


def good(groups):
    return {"mine/groups": len(groups)}


def rude(groups):
    raise KeyError("redness")


def unsayable(groups):
    raise UnsayableError


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (unsayable, "m raised UnsayableError: its __str__ raises OSError"),
        (lambda groups: {"mine/a": Unshown()}, "m: mine/a returned a Unshown (its __repr__ raises OSError)"),
        (rude, "m raised KeyError: 'redness'"),
        (lambda groups: {"mine/a": "high"}, "m: mine/a returned 'high', expected a finite number"),
        (lambda groups: {"mine/a": float("nan")}, "m: mine/a returned nan"),
        (lambda groups: {"alone": 1}, "a metric is called 'alone'; expected a name like area/name"),
        (lambda groups: {"mine/\ud83d": 1}, r"a metric is called 'mine/\ud83d'; expected a name like area/name"),
        (lambda groups: {"reward/mean": 1}, "a metric is called reward/mean, as another one is"),
        (lambda groups: {"mine/groups": 1}, "a metric is called mine/groups, as another one is"),
        (lambda groups: [1], "it returned a list, expected a mapping"),
    ],
)
def test_one_that_fails_costs_its_own_metrics_and_a_sentence(metric, said):
    found, wrong = user_metrics({"good": good, "m": metric}, [], {"reward/mean": 0.5})
    assert found == {"mine/groups": 0.0}
    [sentence] = wrong
    assert said in sentence


def test_they_are_of_rl_alone():
    with pytest.raises(ValueError, match="they are computed of the groups of RL alone"):
        SftRecipe(tracking=TrackingConfig(metrics=["mine:metric"]))
