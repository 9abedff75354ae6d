"""Success rates with confidence intervals that respect which trials belong together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

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


ByRun = Sequence[ByCluster]
"""The same clusters once for each training seed, in the order of seeds; once alone for what no seed decides."""


def crossed_share(runs: ByRun, seed: int = 0) -> Interval:
    """Return the share of right trials over training seeds and clusters, with both drawn anew in each resample.

    This is the pigeonhole bootstrap (Owen, Annals of Applied Statistics 1, 2007): wide enough for clusters, while few
    seeds show less than all of what another seed may bring.
    """
    return _interval(*_crossed(runs, seed))


def crossed_difference(first: ByRun, second: ByRun, seed: int = 0) -> Interval:
    """Return the second share minus the first: each resample takes the same training seeds and clusters from both.

    >>> crossed_difference([{"a": [True, False]}], [{"a": [True, True]}, {"a": [True, True]}]).value
    0.5
    """
    (one, drawn), (other, also_drawn) = _paired(first, second, seed)
    return _interval(other - one, also_drawn - drawn)


def crossed_gain(first: ByRun, second: ByRun, seed: int = 0) -> Interval:
    """Return by what part of the first share the second is larger, paired as a difference is; nan over nothing.

    >>> crossed_gain([{"a": [True, False]}], [{"a": [True, True]}]).value
    1.0
    """
    (one, drawn), (other, also_drawn) = _paired(first, second, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        gains = np.where(drawn > 0, also_drawn / drawn - 1, np.nan)
    return _interval(other / one - 1, gains) if one else Interval(math.nan, math.nan, math.nan)


def _paired(first: ByRun, second: ByRun, seed: int) -> list[tuple[float, np.ndarray]]:
    if not first or not second or any(set(run) != set(first[0]) for run in (*first, *second)):
        raise ValueError("expected the same clusters in every run of both")
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise ValueError(f"{len(first)} and {len(second)} runs, expected as many, or one of what no seed decides")
    return [_crossed([{name: run[name] for name in first[0]} for run in runs], seed) for runs in (first, second)]


def _crossed(runs: ByRun, seed: int) -> tuple[float, np.ndarray]:
    """Return the share of right trials, and those of resamples, float (resamples,)."""
    right, count = (np.array([of(run) for run in runs]) for of in (_sums, _counts))  # (runs, clusters)
    clusters, of_runs = _draws(right.shape[1], seed), _draws(len(runs), seed + 1)
    drawn_right, drawn_count = (((of_runs @ one) * clusters).sum(axis=1) for one in (right, count))
    return float(right.sum() / count.sum()), drawn_right / drawn_count


def _sums(trials: ByCluster) -> np.ndarray:
    return np.array([sum(of) for of in trials.values()], float)


def _counts(trials: ByCluster) -> np.ndarray:
    return np.array([len(of) for of in trials.values()], float)


@lru_cache(maxsize=4)  # they take longer than all that is made of them, and a table's figures share them
def _draws(num_clusters: int, seed: int) -> np.ndarray:
    """Return how often each cluster is in each resample, float (resamples, clusters)."""
    even = np.full(num_clusters, 1 / num_clusters)
    return np.random.default_rng(seed).multinomial(num_clusters, even, size=NUM_RESAMPLES).astype(float)


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
