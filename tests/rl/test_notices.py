"""What is told of a recipe that works, and is most likely not what was meant."""

from dataclasses import replace

import pytest

from rl.notices import notices, overlap
from rl.recipe.config import REPO
from rl.recipe.paths import resolve_data
from rl.recipe.reader import load_recipe
from rl.recipe.tasks import read_tasks
from tests.support.fakes import make_task


def told(*overrides, num_heldout=448):
    return list(notices(load_recipe(REPO / "recipes" / "shapes_grpo.yaml", list(overrides)), num_heldout))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (["judge={kind: 'mine.judges:Strict'}"], "judge.kind=mine.judges:Strict"),
        (["judge.scorer=./mine.py:score"], "judge.scorer=./mine.py:score"),
    ],
)
def test_scores_of_another_judge_than_the_records_may_not_be_compared(said, name):
    [notice] = told(*said)
    assert name in notice
    assert notice.endswith("if another judge gave those, set rollout.baseline=judge")
    assert told(*said, "rollout.baseline=judge") == []


def test_of_the_embedded_world_nothing_is_told():
    assert told() == told(num_heldout=None) == []


def test_an_evaluation_of_more_than_there_are_is_told():
    few = told("evaluation.num_tasks=16", "evaluation.num_tasks_during=8", num_heldout=1)
    assert few == ["data.heldout has 1 record: evaluation.num_tasks=16 takes no more than there are"]
    assert told("evaluation.num_tasks=448") == []


def test_held_out_tasks_that_are_learned_from_are_told_whatever_their_ids():
    tasks = [make_task(number) for number in range(6)]
    again = [replace(task, id=f"again-{task.id}") for task in tasks[:2]]
    [notice] = overlap(tasks[:4], [*again, tasks[5]])
    assert notice.startswith("2 of 3 held-out records are in data.train as well")
    [notice] = overlap(tasks[:4], again[:1])
    assert notice.startswith("1 of 1 held-out record is in data.train as well")
    assert list(overlap(tasks[:4], tasks[4:])) == []


def test_of_the_embedded_world_no_task_is_on_both_sides():
    data = load_recipe(REPO / "recipes" / "shapes_grpo.yaml", []).data
    training, heldout = read_tasks(data, resolve_data(data.train), resolve_data(data.heldout))
    assert isinstance(training, list)
    assert list(overlap(training, heldout)) == []
