"""Advantages and batches against numbers computed by hand."""

import math
import statistics
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from rewards.compose import TermConfig
from rl.advantages import _WITHIN_GROUPS, advantages, check_estimator
from rl.batch import NotFinite, batch_metrics, learnable, make_batch
from rl.estimator_check import check_estimator_name
from rl.recipe.config import ADVANTAGES, UNFIT_ADVANTAGES, AlgorithmConfig, Recipe, RewardConfig, RolloutConfig
from rollout.roles import OwnCodeError
from rollout.types import Group, Response, Reward
from tests.support.groups import make_group


def make_recipe(**algorithm) -> Recipe:
    return Recipe(
        name="x",
        rollout=RolloutConfig(n=4),
        reward=RewardConfig([TermConfig("rewards.accuracy.is_right")]),
        algorithm=AlgorithmConfig(**algorithm),
    )


def test_grpo_by_hand():
    rewards = [0.0, 0.5, 1.0, 0.5]
    mean, deviation = statistics.mean(rewards), statistics.stdev(rewards)
    values = advantages([make_group(1, rewards, [1, 2, 3, 4])], "grpo")
    for value, reward, length in zip(values, rewards, [1, 2, 3, 4], strict=True):
        assert value == pytest.approx([(reward - mean) / deviation] * length, abs=1e-4)


def test_without_the_deviation():
    values = advantages([make_group(1, [0.0, 0.5, 1.0, 0.5])], "grpo", normalise_by_std=False)
    assert [value[0] for value in values] == pytest.approx([-0.5, 0.0, 0.5, 0.0])


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_log_prob_that_is_no_number_names_its_sample_before_anything_is_learned(number):
    good, bad = make_group(1, [0.0, 1.0], [2, 2]), make_group(2, [0.0, 1.0], [2, 3])
    evidence = bad.samples[1].evidence
    assert evidence is not None
    response = evidence.response
    broken = Response(response.prompt_token_ids, response.token_ids, response.text, (-0.1, number, -0.1), 4)
    sample = replace(bad.samples[1], evidence=replace(evidence, response=broken))
    bad = Group(bad.task, (bad.samples[0], sample))
    told = rf"sample 1 of task {bad.task.id}, drawn by version 4: the sampler's log-prob of token 1 of 3 is {number}"
    with pytest.raises(NotFinite, match=told):
        make_batch([good, bad], make_recipe())


TERMS = [
    TermConfig("rewards.format.is_parsed", 0.5, "format"),
    TermConfig("rewards.stepwise.semantic_gain", 0.3, "gain"),
    TermConfig("rewards.accuracy.is_right", 0.0, "unweighed"),
]


def make_group_of_terms(number, terms, lengths) -> Group:
    """Return a group whose samples earned these (format, gain, unweighed)."""
    totals = [0.5 * one + 0.3 * gain for one, gain, _ in terms]
    group = make_group(number, totals, lengths)
    names = ("format", "gain", "unweighed")
    samples = [
        replace(sample, reward=Reward(dict(zip(names, values, strict=True)), total))
        for sample, values, total in zip(group.samples, terms, totals, strict=True)
    ]
    return Group(group.task, tuple(samples))


def by_term_recipe(**algorithm) -> Recipe:
    return replace(make_recipe(advantage="gdpo", **algorithm), reward=RewardConfig(TERMS))


def test_each_term_by_itself_against_plain_numpy():
    """GDPO: z-scores of each term within its group, weighed, added, and whitened over the batch's tokens."""
    first = [(1.0, 0.2, 5.0), (1.0, 0.9, 1.0), (0.0, 0.0, 2.0)]
    second = [(1.0, 0.5, 0.0), (1.0, 0.7, 9.0), (1.0, 0.6, 3.0)]
    lengths = [[2, 3, 4], [1, 5, 2]]
    groups = [make_group_of_terms(1, first, lengths[0]), make_group_of_terms(2, second, lengths[1])]

    def z(values):
        return (values - values.mean()) / (values.std(ddof=1) + 1e-6)

    added = np.concatenate([0.5 * z(np.array(g)[:, 0]) + 0.3 * z(np.array(g)[:, 1]) for g in (first, second)])
    tokens = np.repeat(added, lengths[0] + lengths[1])
    expected = (added - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8)
    batch = make_batch(groups, by_term_recipe())
    assert [row.advantages[0] for row in batch.rows] == pytest.approx(expected, abs=1e-4)
    assert [len(row.advantages) for row in batch.rows] == lengths[0] + lengths[1]


def test_a_term_that_does_not_differ_adds_nothing_however_it_was_rounded():
    terms = [(0.3, 0.0, 0.0), (0.1 + 0.2, 1.0, 0.0), (0.3, 0.5, 0.0)]
    batch = make_batch([make_group_of_terms(1, terms, [1, 1, 1])], by_term_recipe())
    assert [row.advantages[0] for row in batch.rows] == pytest.approx([-1.0, 1.0, 0.0], abs=1e-3)


def test_groups_of_equal_totals_teach_where_terms_are_compared_by_themselves():
    # 0.5 * 1 + 0.3 * 0 = 0.5 * 0.4 + 0.3 * 1
    equal_totals = make_group_of_terms(1, [(1.0, 0.0, 0.0), (0.4, 1.0, 0.0)], [2, 2])
    unweighed = make_group_of_terms(2, [(1.0, 0.5, 0.0), (1.0, 0.5, 7.0)], [2, 2])
    recipe = replace(by_term_recipe(), rollout=RolloutConfig(n=2))
    assert learnable([equal_totals, unweighed], recipe) == [equal_totals]
    plain = replace(recipe, algorithm=AlgorithmConfig())
    assert learnable([equal_totals, unweighed], plain) == []


def test_groups_do_not_mix():
    both = advantages([make_group(1, [0.0, 1.0]), make_group(2, [5.0, 7.0])], "grpo")
    assert [value[0] for value in both] == pytest.approx([-0.7071, 0.7071] * 2, abs=1e-3)


@pytest.mark.parametrize(("estimator", "is_one_value"), [("grpo", True), ("./by_token.py:by_token", False)])
def test_an_advantage_that_is_the_same_for_all_tokens_takes_the_memory_of_one(
    estimator, is_one_value, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "by_token.py").write_text(
        "def by_token(token_level_rewards, response_mask):\n    return response_mask.cumsum(1)\n"
    )
    values = advantages([make_group(1, [0.0, 1.0], [3, 4])], estimator)
    assert [len(value) for value in values] == [3, 4]
    assert [value.strides == (0,) for value in values] == [is_one_value] * 2
    if not is_one_value:
        assert [value.tolist() for value in values] == [[1, 2, 3], [1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise LookupError('half \\ud83d')", r"raised LookupError: half \\ud83d \(.*mine\.py:2\)$"),
        ("return response_mask[:1]", r"returned advantages of \(1, 4\); expected \(2, 4\)"),
        ("return response_mask * float('nan')", "returned an advantage that is no finite number"),
    ],
)
def test_an_estimator_of_ones_own_that_fails_is_named(tmp_path, body, said):
    (tmp_path / "mine.py").write_text(f"def mine(response_mask):\n    {body}\n")
    with pytest.raises(OwnCodeError, match=f"^algorithm.advantage '{tmp_path}/mine.py:mine' {said}"):
        advantages([make_group(1, [0.0, 1.0], [3, 4])], f"{tmp_path}/mine.py:mine")


@pytest.mark.parametrize("estimator", sorted(_WITHIN_GROUPS))
def test_groups_computed_in_parts_have_exactly_the_advantages_of_all_at_once(estimator, monkeypatch):
    dice = np.random.default_rng(0)
    groups = [make_group(n, dice.random(4).tolist(), dice.integers(1, 9, 4).tolist()) for n in range(11)]
    whole = advantages(groups, estimator)
    monkeypatch.setattr("rl.advantages._GROUPS_AT_ONCE", 3)
    parts = advantages(groups, estimator)
    assert [one.tolist() for one in parts] == [one.tolist() for one in whole]


def test_failed_samples_are_in_neither_baseline_nor_batch():
    group = make_group(1, [0.0, None, 1.0, None])
    batch = make_batch([group], make_recipe())
    assert [row.advantages[0] for row in batch.rows] == pytest.approx([-0.7071, 0.7071], abs=1e-3)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_which_estimators_are_unfit_is_known_without_verl(name):
    for check in (check_estimator, check_estimator_name):
        with pytest.raises(ValueError, match=name) if name in UNFIT_ADVANTAGES else nullcontext():
            check(name)


def test_other_estimators_of_verl_by_name():
    assert [v[0] for v in advantages([make_group(1, [0.0, 1.0, 2.0])], "rloo")] == pytest.approx([-1.5, 0.0, 1.5])
    with pytest.raises(ValueError, match=r"verl knows .*grpo"):
        check_estimator("unheard_of")
    with pytest.raises(ValueError, match=r"'gae' needs .*values"):
        check_estimator("gae")
    with pytest.raises(ValueError, match="'reinforce_plus_plus' cannot be used here"):
        check_estimator("reinforce_plus_plus")


def test_lone_survivors_and_equal_rewards_are_left_out():
    lone, equal, good = (
        make_group(1, [3.0, None, None, None]),
        make_group(2, [0.3, 0.1 + 0.2, 0.3, 0.3]),
        make_group(3, [0, 1, 0, 1]),
    )
    assert learnable([lone, equal, good], make_recipe()) == [good]
    assert learnable([lone, equal, good], make_recipe(filter_zero_variance=False)) == [equal, good]
    assert learnable([lone, equal], make_recipe(filter_zero_variance=False)) == []
    assert make_batch([], make_recipe()) is None


def test_a_masked_answer_stays_in_the_baseline_and_leaves_batch_and_denominator():
    group = make_group(1, [0.0, 0.5, 1.0, 0.5], lengths=[2, 3, 4, 5], truncated=[0, 3])
    whole, masked = (make_batch([group], make_recipe(overlong=rule)) for rule in ("keep", "mask"))
    assert masked.rows == whole.rows[1:3]
    assert masked.rows[1].advantages[0] == pytest.approx(0.5 / statistics.stdev([0.0, 0.5, 1.0, 0.5]), abs=1e-4)
    assert (whole.num_tokens, masked.num_tokens) == (14, 7)
    all_cut = make_group(2, [0.0, 1.0, 0.0, 1.0], truncated=range(4))
    assert make_batch([all_cut], make_recipe(overlong="mask")) is None


def test_what_became_of_a_steps_groups_is_counted():
    lone = make_group(1, [3.0, None, None, None])
    equal = make_group(2, [0.3] * 4)
    good = make_group(3, [0, 1, 0, 1], truncated=[2])
    recipe = replace(make_recipe(overlong="mask"), rollout=RolloutConfig(n=4, groups_per_step=2))
    assert batch_metrics([lone, equal, good], recipe) == {
        "batch/refilled_groups": 1,
        "batch/too_few_valid_groups": 1,
        "batch/zero_variance_groups": 1,
        "batch/learned_groups": 1,
        "batch/masked_samples": 1,
    }


def test_a_batch_is_sorted_by_task_and_sample_whatever_the_arrival():
    groups = [make_group(number, [0.0, 1.0, 0.5, 0.25]) for number in (3, 1, 2)]
    assert make_batch(groups, make_recipe()) == make_batch(groups[::-1], make_recipe())
    assert make_batch(groups, make_recipe()).num_tokens == 3 * 4 * 3
