"""How long each stage takes: draws that depend on what they are for alone, never on when they are asked for."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Protocol


class Work(StrEnum):
    """What takes time in a step."""

    SAMPLE = "sample"
    """Drawing one response."""
    GENERATE = "generate"
    """Making one image."""
    JUDGE = "judge"
    """One call of the judge."""
    UPDATE = "update"
    PUBLISH = "publish"


class StageTimes(Protocol):
    """Gives the seconds of any piece of work. Steps count from 1, tasks (in their step), samples and calls from 0."""

    def seconds(self, work: Work, step: int, task: int = 0, sample: int = 0, call: int = 0) -> float:
        """Return how long a piece of work takes once it has a place; 0 or more."""

    def has_edit(self, step: int, task: int, sample: int) -> bool:
        """Whether a response is tried out: an image is made and judged."""


@dataclass(frozen=True)
class Spread:
    """A lognormal distribution; with `sigma` 0 a constant."""

    median: float
    """Seconds."""
    sigma: float = 0.0

    @classmethod
    def of_mean(cls, mean: float, sigma: float = 0.0) -> Spread:
        """Return the distribution with that mean (seconds).

        >>> round(Spread.of_mean(2.0, 0.5).mean, 6)
        2.0
        """
        return cls(mean / math.exp(sigma**2 / 2), sigma)

    @property
    def mean(self) -> float:
        return self.median * math.exp(self.sigma**2 / 2)

    def at(self, share: float) -> float:
        """Return the seconds that a share of the draws, in (0, 1), stays below."""
        return self.median * math.exp(self.sigma * _NORMAL.inv_cdf(share)) if self.sigma else self.median


@dataclass(frozen=True)
class DrawnTimes:
    """Satisfies `StageTimes`: each piece of work has a draw of its own, by the seed and its place."""

    spreads: Mapping[Work, Spread]
    """Work that is left out takes no time."""
    edited_share: float = 1.0
    """Share of the responses that are tried out."""
    has_whole_groups: bool = True
    """All responses of a task are tried out or none, as `rollout.regenerate=by_label` has it."""
    seed: int = 0
    factor: float = 1.0
    """What all times are divided by."""

    def seconds(self, work: Work, step: int, task: int = 0, sample: int = 0, call: int = 0) -> float:
        spread = self.spreads.get(work)
        if spread is None:
            return 0.0
        share = _share(self.seed, work.value, step, task, sample, call) if spread.sigma else 0.5
        return spread.at(share) / self.factor

    def has_edit(self, step: int, task: int, sample: int) -> bool:
        if self.edited_share >= 1:
            return True
        drawn_for = (step, task) if self.has_whole_groups else (step, task, sample)
        return _share(self.seed, "edit", *drawn_for) < self.edited_share


_NORMAL = NormalDist()


def _share(*parts: object) -> float:
    """Return a number in (0, 1), evenly spread over what is asked for.

    >>> _share(0, "sample", 1) == _share(0, "sample", 1) != _share(0, "sample", 2)
    True
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return ((int.from_bytes(digest, "big") >> 11) + 0.5) / 2**53
