"""Advantages and batches against numbers computed by hand."""

import statistics

import pytest

from rewards.compose import TermConfig
from rl.advantages import advantages, check_names
from rl.batch import learnable, make_batch
from rl.config import AlgorithmConfig, Recipe, RewardConfig, RolloutConfig
from rollout.types import Evidence, Failure, Group, Response, Reward, Sample, Stage
from tests.fakes import make_task


def make_recipe(**algorithm) -> Recipe:
    return Recipe(
        name="x",
        rollout=RolloutConfig(n=4),
        reward=RewardConfig([TermConfig("rewards.accuracy.is_right")]),
        algorithm=AlgorithmConfig(**algorithm),
    )


def make_group(number, rewards, lengths=None) -> Group:
    task = make_task(number)
    samples = []
    for index, reward in enumerate(rewards):
        length = lengths[index] if lengths else 3
        response = Response((1, 2), tuple(range(length)), "", (-0.1,) * length, 0)
        if reward is None:
            samples.append(Sample(task.id, index, 0, None, None, Failure(Stage.JUDGE, "down")))
        else:
            samples.append(Sample(task.id, index, 0, Evidence(task, response, None), Reward({}, reward), None))
    return Group(task, tuple(samples))


def test_grpo_by_hand():
    rewards = [0.0, 0.5, 1.0, 0.5]
    mean, deviation = statistics.mean(rewards), statistics.stdev(rewards)
    values = advantages([make_group(1, rewards, [1, 2, 3, 4])], "grpo")
    for value, reward, length in zip(values, rewards, [1, 2, 3, 4], strict=True):
        assert value == pytest.approx([(reward - mean) / deviation] * length, abs=1e-4)


def test_without_the_deviation():
    values = advantages([make_group(1, [0.0, 0.5, 1.0, 0.5])], "grpo", normalise_by_std=False)
    assert [value[0] for value in values] == pytest.approx([-0.5, 0.0, 0.5, 0.0])


def test_groups_do_not_mix():
    both = advantages([make_group(1, [0.0, 1.0]), make_group(2, [5.0, 7.0])], "grpo")
    assert [value[0] for value in both] == pytest.approx([-0.7071, 0.7071] * 2, abs=1e-3)


def test_failed_samples_are_in_neither_baseline_nor_batch():
    group = make_group(1, [0.0, None, 1.0, None])
    batch = make_batch([group], make_recipe())
    assert [row.advantages[0] for row in batch.rows] == pytest.approx([-0.7071, 0.7071], abs=1e-3)


def test_other_estimators_of_verl_by_name():
    assert [v[0] for v in advantages([make_group(1, [0.0, 1.0, 2.0])], "rloo")] == pytest.approx([-1.5, 0.0, 1.5])
    with pytest.raises(ValueError, match=r"verl knows .*grpo"):
        check_names("unheard_of", "vanilla")
    with pytest.raises(ValueError, match=r"'gae' needs .*values"):
        check_names("gae", "vanilla")
    with pytest.raises(ValueError, match=r"policy_loss is 'vanila'; verl knows .*vanilla"):
        check_names("grpo", "vanila")


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


def test_a_batch_is_sorted_by_task_and_sample_whatever_the_arrival():
    groups = [make_group(number, [0.0, 1.0, 0.5, 0.25]) for number in (3, 1, 2)]
    assert make_batch(groups, make_recipe()) == make_batch(groups[::-1], make_recipe())
    assert make_batch(groups, make_recipe()).num_tokens == 3 * 4 * 3
