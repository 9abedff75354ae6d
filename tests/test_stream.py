"""Which tasks a step gets, and in what shares."""

import pytest

from rl.config import Recipe, RewardConfig, RolloutConfig
from rl.stream import RolloutStream
from tests.fakes import make_task
from tests.test_train import TERMS


def make_stream(tasks, **rollout) -> RolloutStream:
    recipe = Recipe(name="fake", reward=RewardConfig(TERMS), rollout=RolloutConfig(**rollout))
    return RolloutStream(recipe, tasks, None)


def many_tasks(num_successes: int, num_failures: int) -> list:
    return [make_task(i, is_success=i < num_successes) for i in range(num_successes + num_failures)]


def test_an_epoch_shows_each_task_once():
    stream = make_stream(many_tasks(3, 9), groups_per_step=4)
    drawn = [task.id for step in (1, 2, 3) for task in stream.tasks_of(step)]
    assert len(set(drawn)) == 12


def test_labels_are_drawn_in_the_asked_shares_from_epochs_of_their_own():
    stream = make_stream(many_tasks(4, 12), groups_per_step=5, success_share=0.4)
    steps = [stream.tasks_of(step) for step in range(1, 5)]
    assert all(sum(task.is_success for task in tasks) == 2 for tasks in steps)
    successes = [task.id for tasks in steps for task in tasks if task.is_success]
    failures = [task.id for tasks in steps for task in tasks if not task.is_success]
    assert len(set(successes[:4])) == 4, "two steps see all four successes"
    assert len(set(failures)) == 12


def test_a_share_of_one_label_alone_is_allowed():
    tasks = make_stream(many_tasks(3, 9), groups_per_step=4, success_share=0.0).tasks_of(1)
    assert not any(task.is_success for task in tasks)


@pytest.mark.parametrize(("share", "label"), [(0.6, "success"), (0.0, "failed")])
def test_too_few_tasks_of_a_label_are_said_before_anything_starts(share, label):
    with pytest.raises(ValueError, match=rf"training tasks \({label}\) are too few"):
        make_stream(many_tasks(2, 3), groups_per_step=5, success_share=share)
