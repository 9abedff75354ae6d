"""Reward sets against numbers computed by hand from REFERENCE formulas."""

import asyncio
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.accuracy import disagreement
from rewards.compose import RewardError, TermConfig, WeightedSum, checked, weighted_mean
from rewards.verdict import false_accept, false_reject
from rl.recipe.config import REPO, Recipe
from rl.recipe.reader import load_recipe
from rollout.types import Critique, Evidence, Response, Reward, Scores, Task

RESPONSE = Response((1,), (2,), "", (-0.5,), 0)


SETS = sorted(file.stem for file in (REPO / "recipes" / "reward").glob("*.yaml"))


@cache
def recipe_with(name: str) -> Recipe:
    return load_recipe(REPO / "recipes" / "critic_grpo.yaml", [f"reward={name}"])


@cache
def reward_set(name: str) -> WeightedSum:
    return WeightedSum(tuple(recipe_with(name).reward.terms))


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


@pytest.mark.parametrize(
    ("case", "no_step", "no_accuracy"),
    [
        (evidence(verdict=False, after=(8.0, 7.0)), 0.5, 0.5 + 0.5 * 0.25),  # R_acc = 0, R_step = 0.25
        (evidence(verdict=True, after=(0.0, 6.0)), 0.5 - 0.5, 0.5 + 0.5 * -0.2),  # R_acc = -1, R_step = -0.2
        (evidence(), -0.5, -0.5),
    ],
)
def test_the_papers_ablations_by_hand(case, no_step, no_accuracy):
    assert reward_set("no_step")(case).total == pytest.approx(no_step, abs=1e-12)
    assert reward_set("no_accuracy")(case).total == pytest.approx(no_accuracy, abs=1e-12)


@pytest.mark.parametrize(
    ("case", "total"),
    [
        (evidence(verdict=False, after=(8.0, 7.0)), 0.5 + 0.3 * 0.7 + 0.1 * 0.55),
        # accepted though it failed; the image got worse
        (evidence(verdict=True, after=(0.0, 6.0)), 0.5 - 0.4 + 0.3 * 0.3 + 0.1 * 0.5),
        (evidence(verdict=True, label=True), 0.5 + 0.15 + 0.05),
        (evidence(verdict=False, label=True), 0.5 - 0.1 + 0.15 + 0.05),
        (evidence(), -0.4),
        (evidence(label=True), -0.1),
    ],
)
def test_verdicts_by_hand(case, total):
    assert reward_set("verdicts")(case).total == pytest.approx(total, abs=1e-12)


@given(verdict=st.none() | st.booleans(), label=st.booleans())
def test_both_kinds_of_wrong_verdicts_are_all_disagreement(verdict, label):
    case = evidence(verdict=verdict, label=label)
    assert false_accept(case) + false_reject(case) == disagreement(case)


def test_dr_grpo_divides_by_neither_deviation_nor_length():
    recipe = load_recipe(REPO / "recipes" / "critic_grpo.yaml", ["reward=dr_grpo", "rollout.max_tokens=77"])
    assert recipe.algorithm.advantage == "grpo"
    assert recipe.algorithm.normalise_by_std is False
    assert (recipe.algorithm.loss.aggregation, recipe.algorithm.loss.scale_factor) == ("seq-mean-token-sum-norm", 77)
    assert recipe.reward == recipe_with("released").reward


def test_gdpo_compares_the_terms_of_released_by_themselves():
    assert recipe_with("gdpo").algorithm.advantage == "gdpo"
    assert recipe_with("gdpo").reward == recipe_with("released").reward


SCORE = st.floats(0, 10)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
@given(
    verdict=st.booleans(), label=st.booleans(), numbers=st.tuples(SCORE, SCORE, SCORE, SCORE), regenerated=st.booleans()
)
def test_no_parsable_answer_scores_below_an_unparsable_one(name, verdict, label, numbers, regenerated):
    """Slow: many examples."""
    before, after = numbers[:2], numbers[2:]
    reward = reward_set(name)
    parsed = reward(evidence(verdict=verdict, label=label, before=before, after=after if regenerated else None))
    unparsed = reward(evidence(label=label, before=before))
    assert parsed.total >= unparsed.total
    # and so in every term that pays: an estimator may compare each by itself
    weights = reward.weights
    assert all(weights[key] * parsed.terms[key] >= weights[key] * unparsed.terms[key] for key in weights)


def test_the_mean_of_the_terms_beside_the_format():
    reward = reward_set("released")
    weights = {term.key: term.weight for term in reward.terms if not term.is_format}
    best = reward(evidence(verdict=False, before=(0.0, 0.0), after=(10.0, 10.0)))
    assert weighted_mean(best.terms, weights) == pytest.approx(1.0)
    assert weighted_mean(reward(evidence(verdict=True, label=True)).terms, weights) == pytest.approx(0.6)


def nan_reward(evidence):
    return float("nan")


def raising_reward(evidence):
    return 1 / 0


async def patient_reward(evidence):
    await asyncio.sleep(0)
    return 0.25


def forgetful_reward(evidence):
    return patient_reward(evidence)


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("nan_reward", "not_number", "nan_reward: returned nan, expected a finite number"),
        ("raising_reward", "raised", r"raising_reward: raised ZeroDivisionError: division by zero \(.*\.py:\d+\)"),
        ("forgetful_reward", "not_number", "returned a coroutine; declare the function with `async def`"),
    ],
)
def test_a_term_that_gives_no_number_is_named(name, kind, message):
    with pytest.raises(RewardError, match=rf"tests\.rewards\.test_compose\.{name}") as caught:
        WeightedSum([TermConfig(f"tests.rewards.test_compose.{name}")])(evidence())
    assert caught.value.kind == kind
    assert caught.match(message)


@pytest.mark.parametrize("name", ["mean", "std", "group", "group_std", "total", "advantage", "other_std"])
def test_a_term_takes_no_name_that_metrics_and_tables_have_already(name):
    terms = [TermConfig("rewards.format.is_parsed", name="other"), TermConfig("rewards.accuracy.is_right", name=name)]
    with pytest.raises(ValueError, match=f"a reward term cannot be called {name}: .* set another `name`"):
        WeightedSum(terms)


def test_a_penalty_neither_turns_the_evaluation_round_nor_makes_it_infinite():
    weights = {"gain": 0.5, "length": -0.5}
    assert weighted_mean({"gain": 0.5, "length": 0.25}, weights) == 0.125
    assert weighted_mean({"gain": 1.0, "length": 0.0}, {"gain": 0.25, "length": -0.75}) == 0.25
    terms = "[{fn: rewards.stepwise.mean_gain, weight: 0.1}, {fn: a.b, weight: -0.3}]"
    assert recipe_with(terms).reward.terms[1].weight == -0.3
    with pytest.raises(ValueError, match="weigh nothing"):
        recipe_with("[{fn: rewards.stepwise.mean_gain, weight: 0.0}]")


@pytest.mark.parametrize("value", [True, np.bool_(1), "1", None, np.nan, 10**400, np.float32("inf"), np.ones(2)])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(RewardError, match=r"reward term f: returned .*, expected a finite number"):
        checked(value, "f")


@pytest.mark.parametrize("value", [1, np.float32(1), np.int64(1)])
def test_numbers_of_any_kind_become_floats(value):
    assert type(checked(value, "f")) is float


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", "expected an import path"),
        ("rewards.nowhere.f", r"cannot import rewards\.nowhere"),
        ("rewards.format.parsed", r"has no parsed; did you mean is_parsed\?"),
        ("rewards.format.length", r"has no length, only ([a-z_]+, )*is_parsed"),
        ("rewards.format.__doc__", "__doc__ is a str, expected a function"),
        ("./nowhere.py:f", r"there is no file .*nowhere\.py"),
    ],
)
def test_a_function_that_is_not_there_is_explained(path, message):
    with pytest.raises(ValueError, match=message):
        WeightedSum([TermConfig(path)])


def test_a_function_in_a_file_may_import_its_neighbours(tmp_path):
    (tmp_path / "weights.py").write_text("HALF = 0.5\n")
    (tmp_path / "mine.py").write_text("from weights import HALF\n\n\ndef half(evidence):\n    return HALF\n")
    reward = WeightedSum([TermConfig(f"{tmp_path}/mine.py:half")])
    assert reward(evidence()) == Reward({"half": 0.5}, 0.5)


def test_terms_need_names_of_their_own():
    with pytest.raises(ValueError, match="distinct names"):
        WeightedSum([TermConfig("rewards.format.is_parsed"), TermConfig("./mine.py:is_parsed")])
