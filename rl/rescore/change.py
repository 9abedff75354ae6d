"""What another reward would have changed: terms, order of samples, signs of advantages."""

from __future__ import annotations

import struct
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from rl.batch import is_flat
from rl.run_dir.read import SampleKey
from rollout.types import Group, Reward, Sample

_MAX_ERRORS = 100
"""Most different errors counted apart: a term that puts numbers into its messages makes countless ones."""


@dataclass(frozen=True)
class RescoredStep:
    """One phase and step under both rewards: the same groups and samples in the same order."""

    phase: str
    step: int
    old: Sequence[Group]
    new: Sequence[Group]
    old_advantages: Mapping[SampleKey, float] = field(default_factory=dict)
    """Empty if the step is not trained on."""
    new_advantages: Mapping[SampleKey, float] = field(default_factory=dict)

    def samples(self) -> Iterator[tuple[Sample, Sample]]:
        """Yield each sample with its old and with its new reward."""
        for before, after in zip(self.old, self.new, strict=True):
            yield from zip(before.samples, after.samples, strict=True)


@dataclass
class Means:
    """Running means by name."""

    _sums: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    _counts: Counter[str] = field(default_factory=Counter)

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._sums[name] += value
            self._counts[name] += 1

    @property
    def names(self) -> list[str]:
        return list(self._counts)

    def get(self, name: str) -> float | None:
        """Return the mean; None for an unknown name."""
        return self._sums[name] / self._counts[name] if self._counts[name] else None


@dataclass
class SampleChanges:
    """Old against new rewards, sample by sample. Two numbers per sample stay in memory."""

    num_samples: int = 0
    """Samples seen, including failed ones."""
    num_rewarded_before: int = 0
    num_rewarded: int = 0
    num_identical: int = 0
    """Samples whose old and new reward agree in every bit."""
    first_difference: str = ""
    """The first sample whose rewards differ, in words."""
    errors: Counter[str] = field(default_factory=Counter)
    """Why samples fail under the new reward."""
    old_terms: Means = field(default_factory=Means)
    new_terms: Means = field(default_factory=Means)
    _old_totals: array[float] = field(default_factory=lambda: array("d"))
    """Totals of the samples that have both ..."""
    _new_totals: array[float] = field(default_factory=lambda: array("d"))
    """... in the same order."""

    def add(self, step: RescoredStep) -> None:
        """Add a step's samples."""
        for old, new in step.samples():
            self._add(old, new, f"{step.phase} step {step.step}")

    @property
    def num_compared(self) -> int:
        """Samples that have both rewards."""
        return len(self._old_totals)

    def correlations(self) -> tuple[float, float] | None:
        """Return Pearson's and Spearman's correlation of old and new totals; None if either is constant."""
        return correlations(np.frombuffer(self._old_totals), np.frombuffer(self._new_totals))

    def _add(self, old: Sample, new: Sample, where: str) -> None:
        self.num_samples += 1
        if new.failure is not None and new.failure != old.failure:
            error = new.failure.error
            is_told_apart = error in self.errors or len(self.errors) < _MAX_ERRORS
            self.errors[error if is_told_apart else "other errors"] += 1
        if new.reward is not None:
            self.num_rewarded += 1
            self.new_terms.add(_with_total(new.reward))
        if old.reward is None:
            return
        self.num_rewarded_before += 1
        self.old_terms.add(_with_total(old.reward))
        difference = difference_of(old.reward, new)
        self.num_identical += not difference
        if difference and not self.first_difference:
            self.first_difference = f"{where}, task {old.task_id}, sample {old.index}: {difference}"
        if new.reward is not None:
            self._old_totals.append(old.reward.total)
            self._new_totals.append(new.reward.total)


@dataclass
class GroupChanges:
    """What training would have learned from the same groups."""

    num_groups: int = 0
    num_flat_before: int = 0
    """Groups whose rewards were all equal."""
    num_flat: int = 0
    num_compared: int = 0
    """Groups with at least two valid samples under both rewards."""
    num_other_best: int = 0
    """Of these, the groups where no sample is best under both."""
    num_advantages: int = 0
    """Samples that have an advantage under both."""
    num_flipped: int = 0
    """Of these, the samples whose advantage changed its sign."""

    def add(self, step: RescoredStep) -> None:
        """Add a training step's groups."""
        for old, new in zip(step.old, step.new, strict=True):
            self.num_groups += 1
            self.num_flat_before += is_flat(old)
            self.num_flat += is_flat(new)
            if len(old.valid) > 1 and len(new.valid) > 1:
                self.num_compared += 1
                self.num_other_best += not best_of(old) & best_of(new)
        for key in step.old_advantages.keys() & step.new_advantages.keys():
            self.num_advantages += 1
            self.num_flipped += step.old_advantages[key] * step.new_advantages[key] < 0


def best_of(group: Group) -> set[int]:
    """Return the indices of a group's samples with the highest reward, including all ties."""
    highest = max(group.rewards)
    return {sample.index for sample in group.samples if sample.reward is not None and sample.reward.total == highest}


def correlations(one: np.ndarray, other: np.ndarray) -> tuple[float, float] | None:
    """Return Pearson's and Spearman's correlation of two [n]; None if they are undefined.

    >>> [round(value, 4) for value in correlations(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))]
    [0.9897, 1.0]
    >>> correlations(np.array([1.0, 2.0]), np.array([5.0, 5.0])) is None
    True
    """
    from scipy.stats import rankdata  # takes half a second

    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    pearson, spearman = (np.corrcoef(*pair)[0, 1] for pair in ((one, other), (rankdata(one), rankdata(other))))
    return float(pearson), float(spearman)


def difference_of(old: Reward, new: Sample) -> str:
    """Return how a sample's new reward differs from the old one; '' if it is the same in every bit."""
    if new.reward is None:
        assert new.failure is not None
        return f"total was {old.total!r}, now it fails ({new.failure.error})"
    before, after = _with_total(old), _with_total(new.reward)
    for name in dict.fromkeys((*before, *after)):
        if name not in before or name not in after or not _is_same(before[name], after[name]):
            return f"{name} was {before.get(name)!r}, is {after.get(name)!r}"
    return ""


def printable(text: str) -> str:
    r"""Return a text that is safe for a terminal and Parquet: errors quote what a policy said, whatever that holds.

    >>> printable("gelb \x1b[31m, half a pair \ud83d, 黄")
    'gelb \\x1b[31m, half a pair \\ud83d, 黄'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _with_total(reward: Reward) -> dict[str, float]:
    return {**reward.terms, "total": reward.total}


def _is_same(one: float, other: float) -> bool:
    """Return whether two floats are equal in every bit, including the sign of zero."""
    return struct.pack("d", one) == struct.pack("d", other)
