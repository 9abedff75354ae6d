"""Does what single steps earn go with what stories come to? Over checkpoints of one run, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from evals.clusters import NUM_RESAMPLES, ByCluster, Interval

FEWEST = 3


@dataclass(frozen=True)
class Correlations:
    """Two figures of each checkpoint, against each other."""

    pearson: Interval
    spearman: Interval


def correlate(rewards: Sequence[ByCluster], satisfied: Sequence[ByCluster], seed: int = 0) -> Correlations:
    """Return how the checkpoints' mean rewards and shares of satisfied steps correlate.

    Intervals are 95 % bootstraps over tasks and over stories, the same ones for all checkpoints: how sure the figure is
    of these checkpoints, not of others. It is nan where a figure is the same at all of them. Raises ValueError for
    fewer than three checkpoints, or where they do not share tasks and stories.
    """
    if not len(rewards) == len(satisfied) >= FEWEST:
        raise ValueError(f"{len(rewards)} and {len(satisfied)} checkpoints; expected {FEWEST} or more, as many of both")
    rng = np.random.default_rng(seed)
    points = [_means(trials, rng) for trials in (rewards, satisfied)]
    ranks = [rankdata(values, axis=1) for values in points]
    return Correlations(_interval(_pearson(*points)), _interval(_pearson(*ranks)))


def _means(trials: Sequence[ByCluster], rng: np.random.Generator) -> np.ndarray:
    """Return each checkpoint's mean, float (1 + resamples, checkpoints); the first row is of all clusters, once."""
    names = list(trials[0])
    if not names or any(set(one) != set(names) for one in trials):
        raise ValueError("the checkpoints do not share their tasks and stories; expected the same ones for all")
    sums = np.array([[sum(one[name]) for name in names] for one in trials], float)
    counts = np.array([[len(one[name]) for name in names] for one in trials], float)
    even = np.full(len(names), 1 / len(names))
    draws = np.vstack([np.ones(len(names)), rng.multinomial(len(names), even, size=NUM_RESAMPLES)])
    means: np.ndarray = (draws @ sums.T) / (draws @ counts.T)
    return means


def _pearson(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the correlation of each row of one with that of the other; nan for a row of equal numbers."""
    one, other = (values - values.mean(axis=1, keepdims=True) for values in (one, other))
    scale = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    found: np.ndarray = np.divide((one * other).sum(axis=1), scale, out=np.full(len(one), np.nan), where=scale > 1e-12)
    return found


def _interval(found: np.ndarray) -> Interval:
    resampled = found[1:][~np.isnan(found[1:])]
    low, high = np.percentile(resampled, [2.5, 97.5]) if len(resampled) else (np.nan, np.nan)
    return Interval(float(found[0]), float(low), float(high))
