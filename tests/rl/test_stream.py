"""Which tasks a step gets, and in what shares."""

import asyncio
import random

import pytest

from rl.recipe.config import Recipe, RewardConfig, RolloutConfig
from rl.stream import RolloutStream
from rl.task_sampler import TaskSampler
from rollout.types import Evidence, Failure, Group, Response, Reward, Sample, Stage
from tests.support.fakes import make_task
from tests.support.training import TERMS


def draw(tasks, **rollout) -> TaskSampler:
    return TaskSampler(tasks, RolloutConfig(**rollout), seed=0)


def many_tasks(num_successes: int, num_failures: int) -> list:
    return [make_task(i, is_success=i < num_successes) for i in range(num_successes + num_failures)]


def test_an_epoch_shows_each_task_once():
    drawn_from = draw(many_tasks(3, 9), groups_per_step=4)
    drawn = [task.id for step in (1, 2, 3) for task in drawn_from.tasks_of(step)]
    assert len(set(drawn)) == 12


def test_labels_are_drawn_in_the_asked_shares_from_epochs_of_their_own():
    drawn_from = draw(many_tasks(4, 12), groups_per_step=5, success_share=0.4)
    steps = [drawn_from.tasks_of(step) for step in range(1, 5)]
    assert all(sum(task.is_success for task in tasks) == 2 for tasks in steps)
    successes = [task.id for tasks in steps for task in tasks if task.is_success]
    failures = [task.id for tasks in steps for task in tasks if not task.is_success]
    assert len(set(successes[:4])) == 4, "two steps see all four successes"
    assert len(set(failures)) == 12


def test_a_share_of_one_label_alone_is_allowed():
    tasks = draw(many_tasks(3, 9), groups_per_step=4, success_share=0.0).tasks_of(1)
    assert not any(task.is_success for task in tasks)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.6, r"2 successful records, but each step needs 3 \(rollout.groups_per_step=5, success_share=0.6\)"),
        (0.0, r"3 failed records, but each step needs 5 \("),
        (None, r"5 records, but each step needs 6 \(rollout.groups_per_step=6\): lower groups_per_step or bring more"),
    ],
)
def test_too_few_tasks_of_a_label_are_said_before_anything_starts(share, said):
    with pytest.raises(ValueError, match=f"data.train: {said}"):
        draw(many_tasks(2, 3), groups_per_step=6 if share is None else 5, success_share=share)


class Table(list):
    """Many tasks, of which each one that is read is noted."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.labels = [task.is_success for task in tasks]
        self.read = []

    def __getitem__(self, position):
        self.read.append(position)
        return super().__getitem__(position)

    def __iter__(self):
        raise AssertionError("a large data set is not to be read through")


def test_no_task_is_read_before_its_step():
    table = Table(many_tasks(400, 600))
    drawn_from = draw(table, groups_per_step=10, success_share=0.4)
    assert table.read == []
    assert [task.is_success for task in drawn_from.tasks_of(7)].count(True) == 4
    drawn_from.spares(7)
    assert len(table.read) == 10


class Dealer:
    """Rolls out groups that teach, unless their task is told to be flat or to fail; each takes a random while."""

    def __init__(self, flat=lambda task: False, failing=lambda task: False):
        self.flat, self.failing = flat, failing
        self.asked = []

    async def __call__(self, request):
        self.asked.append(request.task.id)
        await asyncio.sleep(random.random() / 500)
        return Group(request.task, tuple(self._sample(request, i) for i in range(request.n)))

    def _sample(self, request, index):
        if self.failing(request.task):
            return Sample(request.task.id, index, 0, None, None, Failure(Stage.JUDGE, "down"))
        evidence = Evidence(request.task, Response((1,), (2,), "", (0.0,), 0), None)
        reward = Reward({}, 0.0 if self.flat(request.task) else float(index))
        return Sample(request.task.id, index, 0, evidence, reward, None)


def groups_of(dealer, tasks, step=1, **rollout):
    async def one_step():
        recipe = Recipe(name="fake", reward=RewardConfig(TERMS), rollout=RolloutConfig(**rollout))
        return await RolloutStream(recipe, tasks, dealer)._step(step)

    return asyncio.run(one_step())


def is_even(task):
    return int(task.id[-3:]) % 2 == 0


def test_groups_without_variance_are_replaced_until_the_step_is_full():
    tasks = many_tasks(0, 40)
    groups = groups_of(Dealer(is_even), tasks, groups_per_step=8, refill_zero_variance=True, max_refills=30)
    assert sum(not is_even(group.task) for group in groups) == 8
    assert len({group.task.id for group in groups}) == len(groups)
    again = groups_of(Dealer(is_even), tasks, groups_per_step=8, refill_zero_variance=True, max_refills=30)
    assert [group.task.id for group in again] == [group.task.id for group in groups], "arrival decides nothing"


@pytest.mark.parametrize(("refill", "num_groups"), [(True, 8 + 5), (False, 8)])
def test_refills_are_bounded_and_asked_for(refill, num_groups):
    flat = Dealer(lambda task: True)
    groups = groups_of(flat, many_tasks(0, 40), groups_per_step=8, refill_zero_variance=refill, max_refills=5)
    assert len(groups) == len(flat.asked) == num_groups


def test_refills_end_with_the_tasks():
    flat = Dealer(lambda task: True)
    groups = groups_of(flat, many_tasks(0, 10), groups_per_step=8, refill_zero_variance=True, max_refills=99)
    assert len({group.task.id for group in groups}) == len(groups) == 10


def test_a_refill_bears_the_label_of_what_it_replaces():
    flat = Dealer(lambda task: task.is_success and is_even(task))
    rules = {"groups_per_step": 8, "success_share": 0.5, "refill_zero_variance": True, "max_refills": 20}
    groups = groups_of(flat, many_tasks(20, 20), **rules)
    good = [group.task for group in groups if len(set(group.rewards)) > 1]
    assert sum(task.is_success for task in good) == 4
    assert len(good) == 8


def test_both_labels_have_a_turn_where_refills_are_few():
    flat = Dealer(lambda task: True)
    rules = {"groups_per_step": 8, "success_share": 0.5, "refill_zero_variance": True, "max_refills": 2}
    refills = groups_of(flat, many_tasks(20, 20), **rules)[8:]
    assert sorted(group.task.is_success for group in refills) == [False, True]


def test_failed_groups_are_replaced_whatever_the_rule_for_variance():
    groups = groups_of(
        Dealer(failing=is_even), many_tasks(0, 40), groups_per_step=4, max_refills=8, max_failure_share=0.9
    )
    assert sum(bool(group.rewards) for group in groups) == 4


def test_nothing_is_paid_for_after_too_many_failures():
    dealer = Dealer(failing=lambda task: True)
    assert len(groups_of(dealer, many_tasks(0, 40), groups_per_step=4, max_failure_share=0.5)) == 4
