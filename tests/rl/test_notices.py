"""What is told of a recipe that works, and is most likely not what was meant."""

import pytest

from rl.notices import notices
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe


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
