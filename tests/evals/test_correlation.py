"""Rewards against satisfied steps, over checkpoints."""

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from evals.correlation import correlate


def spread(means: list[float], count: int = 40) -> list[dict[str, list[float]]]:
    """Return trials of 0 and 1 with about these means, the same clusters first everywhere."""
    return [{str(at): [float(at < mean * count)] for at in range(count)} for mean in means]


def test_correlations_are_those_of_the_checkpoints_figures():
    rewards, satisfied = [0.1, 0.3, 0.4, 0.8], [0.2, 0.5, 0.4, 0.6]
    got = correlate(spread(rewards), spread(satisfied))
    assert got.pearson.value == pytest.approx(pearsonr(rewards, satisfied).statistic)
    assert got.spearman.value == pytest.approx(spearmanr(rewards, satisfied).statistic)
    assert got.pearson.low <= got.pearson.value <= got.pearson.high
    assert got == correlate(spread(rewards), spread(satisfied))


def test_an_interval_says_how_sure_the_figures_are_of():
    rewards, satisfied = [0.2, 0.4, 0.6], [0.4, 0.5, 0.6]
    few, many = (correlate(spread(rewards, count), spread(satisfied, count)).pearson for count in (20, 400))
    assert many.high - many.low <= few.high - few.low
    noise = np.random.default_rng(0)
    wild = [{str(at): [float(noise.random() < 0.5)] for at in range(20)} for _ in range(3)]
    assert correlate(wild, spread(satisfied)).pearson.low < 0


def test_clusters_count_by_their_trials():
    rewards = [{"a": [1.0, 1.0, 1.0], "b": [value]} for value in (0.0, 0.5, 1.0)]
    got = correlate(rewards, [{"s": [value]} for value in (0.1, 0.2, 0.3)])
    assert got.pearson.value == pytest.approx(1.0)


def test_what_never_changes_correlates_with_nothing():
    assert np.isnan(correlate(spread([0.5, 0.5, 0.5]), spread([0.1, 0.2, 0.3])).pearson.value)


def test_too_few_checkpoints_and_different_ones_are_refused():
    with pytest.raises(ValueError, match="2 and 2 checkpoints; expected 3 or more"):
        correlate(spread([0.1, 0.2]), spread([0.1, 0.2]))
    with pytest.raises(ValueError, match="expected the same ones for all"):
        correlate([*spread([0.1, 0.2]), {"other": [1.0]}], spread([0.1, 0.2, 0.3]))
