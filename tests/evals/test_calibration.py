"""Thresholds on verdicts, on images whose truth is known."""

import pytest

from evals.calibration import Judged, calibrated, operating


def judged(*pairs: tuple[bool, float]) -> list[Judged]:
    return [Judged(str(at), truth, probability > 0.5, probability) for at, (truth, probability) in enumerate(pairs)]


IMAGES = judged(
    (True, 0.95), (True, 0.9), (True, 0.4), (True, 0.9), (False, 0.8), (False, 0.7), (False, 0.2), (False, 0.0)
)


def test_a_rule_is_told_by_what_it_accepts_of_right_and_of_wrong_images():
    majority, strict = operating(IMAGES, 0.0), operating(IMAGES, 0.75)
    assert (majority.false_accepts.value, majority.right_accepts.value) == (0.5, 0.75)
    assert majority.balanced_accuracy == 0.625
    assert (strict.false_accepts.value, strict.right_accepts.value) == (0.25, 0.75)


@pytest.mark.parametrize(("most", "threshold"), [(0.5, 0.4), (0.3, 0.8), (0.0, 0.9)])
def test_the_lowest_threshold_that_lets_few_wrong_images_pass_is_found(most, threshold):
    found = calibrated(IMAGES, most)
    assert found is not None
    assert found.threshold == threshold
    assert found.false_accepts.value <= most


def test_a_critic_that_is_always_sure_cannot_be_calibrated():
    assert calibrated(judged((True, 1.0), (False, 1.0), (False, 1.0)), 0.1) is None


def test_images_of_one_kind_say_nothing():
    with pytest.raises(ValueError, match="1 right and 0 wrong images were judged; expected some of both"):
        operating(judged((True, 1.0)), 0.5)
