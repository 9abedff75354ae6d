"""Intervals over two things at once, training seeds and stories."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.clusters import crossed_difference, crossed_gain, crossed_share, difference, share

FIRST = {str(number): [number % 2 == 0, False] for number in range(12)}
SECOND = {str(number): [True, number < 4] for number in range(12)}


def test_with_one_seed_they_are_intervals_over_stories():
    assert crossed_share([FIRST]) == share(FIRST)
    assert crossed_difference([FIRST], [SECOND]) == difference(FIRST, SECOND)


def test_seeds_that_agree_narrow_nothing_and_those_that_do_not_widen():
    alike, one = crossed_share([FIRST] * 3), crossed_share([FIRST])
    assert (alike.value, alike.low, alike.high) == pytest.approx((one.value, one.low, one.high), abs=0.03)
    none, all_ = ({name: [good] * 2 for name in FIRST} for good in (False, True))
    apart = crossed_share([none, all_, all_])
    assert (apart.value, apart.low, apart.high) == (pytest.approx(2 / 3), 0.0, 1.0)


def test_a_difference_is_paired_by_seed_and_by_story():
    """Shares are far apart between seeds and between stories, and the second is one step better in each."""
    first = [{str(story): [story < 3 * run] * 4 + [False] for story in range(9)} for run in range(3)]
    second = [{story: [*of[:4], True] for story, of in run.items()} for run in first]
    got = crossed_difference(first, second)
    assert (got.value, got.low, got.high) == pytest.approx((0.2, 0.2, 0.2))
    unpaired = crossed_difference(first, second[::-1])
    assert unpaired.low < 0 < unpaired.high


def test_what_no_seed_decides_is_compared_with_every_seed():
    runs = [{"a": [True, False]}, {"a": [True, True]}, {"a": [False, False]}]
    got = crossed_difference([{"a": [True, False]}], runs)
    assert (got.value, got.low, got.high) == (0.0, -0.5, 0.5)


def test_a_gain_is_a_part_of_the_first_share():
    got = crossed_gain([{"a": [True, False, False, False]}], [{"a": [True, True, False, False]}] * 2)
    assert (got.value, got.low, got.high) == (1.0, 1.0, 1.0)
    assert math.isnan(crossed_gain([{"a": [False]}], [{"a": [True]}]).value)


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match="expected the same clusters"):
        crossed_difference([FIRST], [{"0": [True]}])
    with pytest.raises(ValueError, match="2 and 3 runs"):
        crossed_difference([FIRST] * 2, [FIRST] * 3)
    with pytest.raises(ValueError, match="expected the same clusters"):
        crossed_difference([], [FIRST])


trials = st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=15)
@given(trials, st.integers(1, 3))
def test_nothing_is_apart_from_itself(stories, num_seeds):
    runs = [{str(number): of for number, of in enumerate(stories)}] * num_seeds
    got = crossed_difference(runs, runs)
    assert (got.value, got.low, got.high) == (0.0, 0.0, 0.0)
