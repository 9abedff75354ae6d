"""What became of steps: verdicts against the truth, by try."""

import pytest

from evals.stories import Arm, StepRow, TryRow
from evals.verdicts import Steps, TryVerdicts, verdicts_of

RIGHT, WRONG = TryRow(True, True), TryRow(True, False)
"""Accepted."""
REFUSED, LOST = TryRow(False, False), TryRow(False, True)
"""Rejected, the latter though it was right."""


def row(story: str, step: int, status: str, *tries: TryRow) -> StepRow:
    return StepRow(story, step, bool(tries and tries[-1].is_right), status, len(tries), None, tries=tries)


ARM = Arm(
    "planner + sft",
    3,
    (
        row("a", 1, "accepted", RIGHT),
        row("a", 2, "accepted", REFUSED, WRONG),
        row("a", 3, "accepted", LOST, REFUSED, RIGHT),
        row("b", 1, "accepted", WRONG),
        row("b", 2, "best_of_tries", REFUSED, REFUSED, LOST),
        row("b", 3, "best_of_tries", REFUSED, REFUSED, REFUSED),
        row("c", 1, "accepted", RIGHT),
        row("c", 2, "unjudged", TryRow(None, False)),
        row("c", 3, "missing"),
    ),
)


def test_verdicts_are_counted_by_try_and_truth():
    assert verdicts_of(ARM).by_try == (
        TryVerdicts(1, accepted_rightly=2, accepted_wrongly=1, rejected_rightly=3, rejected_wrongly=1),
        TryVerdicts(2, accepted_rightly=0, accepted_wrongly=1, rejected_rightly=3, rejected_wrongly=0),
        TryVerdicts(3, accepted_rightly=1, accepted_wrongly=0, rejected_rightly=1, rejected_wrongly=1),
    )


def test_verdicts_on_right_and_on_wrong_images_count_alike():
    first, second, _ = verdicts_of(ARM).by_try
    assert first.balanced_accuracy == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert second.balanced_accuracy is None


def test_every_step_is_accepted_out_of_tries_or_without_a_verdict():
    got = verdicts_of(ARM)
    assert (got.accepted, got.out_of_tries, got.without_verdict) == (Steps(5, 3), Steps(2, 1), Steps(2, 0))


def test_what_comes_after_a_wrong_step_edits_a_wrong_image():
    # a 3, behind a 2; b 2 and b 3, behind b 1; c 3, behind c 2.
    assert verdicts_of(ARM).before_wrong == Steps(4, 2)


def test_false_accepts_are_of_the_first_images_that_are_wrong_and_have_a_verdict():
    got = verdicts_of(ARM).false_accepts
    assert got is not None
    assert got.value == pytest.approx(1 / 4)
    assert verdicts_of(Arm("planner + sft", 3, ARM.rows[:1])).false_accepts is None
