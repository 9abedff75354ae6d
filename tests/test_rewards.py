"""Reward sets against numbers computed by hand from REFERENCE formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rewards.compose import TermConfig, WeightedSum, weighted_mean
from rl.config import REPO
from rollout.types import Critique, Evidence, Response, Scores, Task

RESPONSE = Response((1,), (2,), "", (-0.5,), 0)


def reward_set(name: str) -> WeightedSum:
    terms = OmegaConf.load(REPO / "recipes" / "reward" / f"{name}.yaml").terms
    return WeightedSum([TermConfig(**term) for term in terms])


def evidence(*, verdict=None, label=False, before=(4.0, 6.0), after=None) -> Evidence:
    task = Task("t", "do", "do", None, "x", label, Scores(*before))
    critique = None if verdict is None else Critique(verdict, "better")
    return Evidence(task, RESPONSE, critique, scores=Scores(*after) if after else None)


@pytest.mark.parametrize(
    ("case", "total"),
    [
        # format 1, verdict right 1, S = ((8-4)/10+1)/2 = 0.7, Q = ((7-6)/10+1)/2 = 0.55
        (evidence(verdict=False, after=(8.0, 7.0)), 0.5 + 0.1 + 0.3 * 0.7 + 0.1 * 0.55),
        # wrong verdict, the image got worse: S = ((0-4)/10+1)/2 = 0.3, Q = ((6-6)/10+1)/2 = 0.5
        (evidence(verdict=True, after=(0.0, 6.0)), 0.5 + 0.3 * 0.3 + 0.1 * 0.5),
        # a record labelled successful is not regenerated: S = Q = 0.5
        (evidence(verdict=True, label=True), 0.5 + 0.1 + 0.15 + 0.05),
        (evidence(), 0.0),
    ],
)
def test_released_by_hand(case, total):
    assert reward_set("released")(case).total == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize(
    ("case", "total"),
    [
        # R_step = (7.5 - 5.0) / 10
        (evidence(verdict=False, after=(8.0, 7.0)), 0.5 + 0.5 * (0.2 * 0 + 0.8 * 0.25)),
        # R_acc = -1, R_step = (3.0 - 5.0) / 10
        (evidence(verdict=True, after=(0.0, 6.0)), 0.5 + 0.5 * (0.2 * -1 + 0.8 * -0.2)),
        (evidence(verdict=True, label=True), 0.5),
        (evidence(), 0.5 * (0.2 * -1 + 0.8 * -1)),
    ],
)
def test_paper_by_hand(case, total):
    assert reward_set("paper")(case).total == pytest.approx(total, abs=1e-12)


SCORE = st.floats(0, 10)


@pytest.mark.parametrize("name", ["released", "paper"])
@given(
    verdict=st.booleans(), label=st.booleans(), numbers=st.tuples(SCORE, SCORE, SCORE, SCORE), regenerated=st.booleans()
)
def test_no_parsable_answer_scores_below_an_unparsable_one(name, verdict, label, numbers, regenerated):
    before, after = numbers[:2], numbers[2:]
    reward = reward_set(name)
    parsed = reward(evidence(verdict=verdict, label=label, before=before, after=after if regenerated else None))
    unparsed = reward(evidence(label=label, before=before))
    assert parsed.total >= unparsed.total


def test_the_mean_of_the_terms_beside_the_format():
    reward = reward_set("released")
    weights = {term.key: term.weight for term in reward.terms if not term.is_format}
    best = reward(evidence(verdict=False, before=(0.0, 0.0), after=(10.0, 10.0)))
    assert weighted_mean(best.terms, weights) == pytest.approx(1.0)
    assert weighted_mean(reward(evidence(verdict=True, label=True)).terms, weights) == pytest.approx(0.6)


def nan_reward(evidence):
    return float("nan")


def test_a_term_that_is_no_number_is_named():
    with pytest.raises(ValueError, match=r"tests\.test_rewards\.nan_reward returned nan"):
        WeightedSum([TermConfig("tests.test_rewards.nan_reward")])(evidence())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "expected an import path"),
        ("rewards.nowhere.f", "cannot import rewards.nowhere"),
        ("rewards.format.parsed", "has no parsed, only"),
    ],
)
def test_a_function_that_is_not_there_is_explained(path, message):
    with pytest.raises(ValueError, match=message):
        WeightedSum([TermConfig(path)])
