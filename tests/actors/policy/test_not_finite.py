"""Which row brought a gradient that is not finite, found with norms that are made up."""

import asyncio
import math

import pytest

from actors.policy.not_finite import culprit
from rollout.types import TrainingRow

ROWS = [TrainingRow((), (1,), (2,), (0.0,), (0.0,), name=str(number)) for number in range(13)]


def found(*bad: int, sum_overflows: bool = False) -> tuple[int | None, int]:
    asked = 0

    async def norm(rows):
        nonlocal asked
        asked += 1
        if any(int(row.name) in bad for row in rows):
            return math.nan
        return math.inf if sum_overflows and len(rows) > 1 else 1.0

    return asyncio.run(culprit(norm, ROWS)), asked


@pytest.mark.parametrize("bad", range(13))
def test_each_row_is_found_in_few_questions(bad):
    row, asked = found(bad)
    assert row == bad
    assert asked <= 5


def test_of_several_the_first_is_told():
    assert found(4, 9)[0] == 4


def test_a_sum_that_overflows_is_nobodys():
    assert found(sum_overflows=True)[0] is None


def test_an_update_of_one_row_is_its_own():
    async def norm(rows):
        return math.inf

    assert asyncio.run(culprit(norm, ROWS[:1])) == 0
