"""An exception becomes a status whatever it is: with a text that can be written."""

import pytest

from rollout.roles import Unsupported
from rollout.stages import MOST_CHARS, StageTimer, failure_of
from rollout.text.strict_json import RubricError
from rollout.types import Failure, Stage
from tests.support.unsayable import HALF, HALF_TOLD, UnsayableError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UnsayableError(), "UnsayableError: its __str__ raises OSError"),
        (ValueError(HALF), f"ValueError: {HALF_TOLD}"),
        (RubricError("shape", HALF), f"shape: {HALF_TOLD}"),
        (Unsupported(f"unsupported: {HALF}"), f"unsupported: {HALF_TOLD}"),
        (ValueError("x" * 10_000), f"ValueError: {'x' * 10_000}"[:MOST_CHARS]),
    ],
)
def test_a_failures_text_can_be_written(error, told):
    assert failure_of(Stage.JUDGE, error).error == told


def test_what_cannot_say_itself_ends_no_group():
    timer = StageTimer()
    with timer.failing(), timer.at(Stage.REWARD):
        raise UnsayableError
    assert timer.failure == Failure(Stage.REWARD, "UnsayableError: its __str__ raises OSError")
