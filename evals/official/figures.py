"""Our numbers beside a benchmark's own: what failed, intervals by item, two agents and two judges against each other.

The overall figure is a weighted mean of the groups' means over the items that have a score. Intervals are of 95 %, by a
bootstrap that draws items anew within each group: how many items a group has is the benchmark's choice, not chance.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evals.clusters import NUM_RESAMPLES, Interval
from evals.official.benchmark import Benchmark, Figure, Item, Judged

Scores = Mapping[str, float]
"""Scores by the ids of items."""


@dataclass(frozen=True)
class Ours:
    """What an agent reached, over the items that have a score."""

    overall: Interval | None
    """None: no item has a score."""
    by_group: Mapping[str, Interval]
    num_items: int
    failed: Mapping[str, str]
    """Why items have no score, by their ids."""
    notes: Mapping[str, int]
    """Answers that are counted beside the figures, like "not sure"."""


@dataclass(frozen=True)
class Agreement:
    """How two judges answered the same questions about the same outputs."""

    num_answers: int
    share_same: float
    kappa: float | None
    """Cohen's: 0 is what their habits alone would come to, 1 is always; None: both always say one thing."""


def ours(benchmark: Benchmark, judged: Sequence[Judged], seed: int = 0) -> Ours:
    """Return the figures of an agent."""
    items = [one.item for one in judged]
    scores = scores_of(benchmark, judged)
    return Ours(
        overall=interval(scores, items, benchmark.weights(items), seed) if scores else None,
        by_group={
            group: interval(scores, of_group, {group: 1.0}, seed)
            for group, of_group in _by_group(items).items()
            if any(item.id in scores for item in of_group)
        },
        num_items=len(items),
        failed={one.item.id: _why(one) for one in judged if one.item.id not in scores},
        notes=dict(Counter(read.note for one in judged for read in one.readings.values() if read and read.note)),
    )


def scores_of(benchmark: Benchmark, judged: Sequence[Judged]) -> dict[str, float]:
    """Return the scores of the items that have one."""
    return {one.item.id: score for one in judged if (score := benchmark.score(one)) is not None}


def interval(scores: Scores, items: Sequence[Item], weights: Mapping[str, float], seed: int = 0) -> Interval:
    """Return the weighted mean of the groups' mean scores. Groups without weight or without any score are left out.

    >>> interval({"a": 1.0, "b": 0.0}, [Item("a", "x", ""), Item("b", "y", "")], {"x": 3.0, "y": 1.0}).value
    0.75
    """
    rng, value, resampled, whole = np.random.default_rng(seed), 0.0, np.zeros(NUM_RESAMPLES), 0.0
    for group, of_group in _by_group(items).items():
        found, weight = np.array([scores[item.id] for item in of_group if item.id in scores]), weights.get(group, 0.0)
        if len(found) == 0 or not weight:
            continue
        draws = rng.multinomial(len(found), np.full(len(found), 1 / len(found)), size=NUM_RESAMPLES)
        value += weight * found.mean()
        resampled += weight * (draws @ found) / len(found)
        whole += weight
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(value / whole), float(low / whole), float(high / whole))


def difference(first: Scores, second: Scores, items: Sequence[Item], weights: Mapping[str, float]) -> Interval:
    """Return the second agent's overall figure minus the first's, paired: over the items for which both have a score.

    Raises ValueError where they have none in common.
    """
    both = {item.id: second[item.id] - first[item.id] for item in items if item.id in first and item.id in second}
    if not both:
        raise ValueError("the two agents have no item in common with a score of both")
    return interval(both, items, weights)


def agreement(first: Mapping[str, object], second: Mapping[str, object]) -> Agreement | None:
    """Compare two judges' answers by what they were asked; None where they have no question in common.

    >>> agreement({"a": 1, "b": 0, "c": 1, "d": 0}, {"a": 1, "b": 0, "c": 0, "d": 0})
    Agreement(num_answers=4, share_same=0.75, kappa=0.5)
    """
    pairs = [(first[key], second[key]) for key in first if key in second]
    if not pairs:
        return None
    same = sum(one == other for one, other in pairs) / len(pairs)
    ones, others = (Counter(side) for side in zip(*pairs, strict=True))
    by_habit = sum(ones[answer] * others[answer] for answer in ones) / len(pairs) ** 2
    return Agreement(len(pairs), same, None if by_habit == 1 else (same - by_habit) / (1 - by_habit))


def headline(official: Sequence[Figure], found: Ours) -> str:
    """Return the one line that tells both.

    >>> headline([Figure("score", 0.71)], Ours(Interval(0.712, 0.684, 0.74), {}, 1000, {"a": "x"}, {}))
    'official 0.710 · failed 1 of 1,000 · over the answered 0.712 ± 0.028'
    """
    first = official[0]
    theirs = f"none ({first.why})" if first.value is None else f"{first.value:.3f}"
    own = found.overall
    answered = "none" if own is None else f"{own.value:.3f} ± {(own.high - own.low) / 2:.3f}"
    return f"official {theirs} · failed {len(found.failed):,} of {found.num_items:,} · over the answered {answered}"


def _by_group(items: Sequence[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    return groups


def _why(judged: Judged) -> str:
    if judged.output.error is not None:
        return f"no whole output: {judged.output.error}"
    return next(iter(judged.faults.values()), "the benchmark gives it no score")
