"""Success rates with confidence intervals that respect which trials belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

NUM_RESAMPLES = 4000
ByCluster = Mapping[str, Sequence[float]]
"""Trials by cluster: the steps of a story by its id, right or not, or what each answer to a task earned."""


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def is_apart_from_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def share(trials: ByCluster, seed: int = 0) -> Interval:
    """Return the share of right trials (their mean), bootstrapped over clusters, in which trials are not independent.

    >>> share({"a": [True, True], "b": [True, False]}).value
    0.75
    """
    right, count, draws = _sums(trials), _counts(trials), _draws(len(trials), seed)
    return _interval(right.sum() / count.sum(), (draws @ right) / (draws @ count))


def difference(first: ByCluster, second: ByCluster, seed: int = 0) -> Interval:
    """Return the second share minus the first, paired: each resample takes the same clusters from both.

    >>> difference({"a": [True, False]}, {"a": [True, True]})
    Interval(value=0.5, low=0.5, high=0.5)
    """
    if set(first) != set(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} clusters, expected the same ones in both")
    second = {name: second[name] for name in first}
    draws = _draws(len(first), seed)
    right, count = [_sums(first), _sums(second)], [_counts(first), _counts(second)]
    shares = [(draws @ one) / (draws @ of) for one, of in zip(right, count, strict=True)]
    value = right[1].sum() / count[1].sum() - right[0].sum() / count[0].sum()
    return _interval(value, shares[1] - shares[0])


def _sums(trials: ByCluster) -> np.ndarray:
    return np.array([sum(of) for of in trials.values()], float)


def _counts(trials: ByCluster) -> np.ndarray:
    return np.array([len(of) for of in trials.values()], float)


def _draws(num_clusters: int, seed: int) -> np.ndarray:
    """Return how often each cluster is in each resample, float (resamples, clusters)."""
    even = np.full(num_clusters, 1 / num_clusters)
    return np.random.default_rng(seed).multinomial(num_clusters, even, size=NUM_RESAMPLES).astype(float)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
