"""Which threshold on a verdict's probability lets few wrong images pass: found on tasks whose truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.clusters import Interval, share


@dataclass(frozen=True)
class Judged:
    """What a critic made of one image whose truth is known."""

    task: str
    is_right: bool
    """The truth."""
    is_accepted: bool
    """By the majority of its votes."""
    probability: float
    """Of success, averaged over the votes."""


@dataclass(frozen=True)
class Operating:
    """How a rule does."""

    threshold: float
    """0: the majority decides."""
    false_accepts: Interval
    """Share of the wrong images that it accepts."""
    right_accepts: Interval
    """Share of the right images that it accepts."""

    @property
    def balanced_accuracy(self) -> float:
        return (1 - self.false_accepts.value + self.right_accepts.value) / 2


def operating(judged: Sequence[Judged], threshold: float) -> Operating:
    """Return how a threshold does. Raises ValueError unless there are both right and wrong images."""
    accepted: dict[bool, dict[str, list[bool]]] = {True: {}, False: {}}
    for one in judged:
        is_accepted = one.probability >= threshold if threshold else one.is_accepted
        accepted[one.is_right].setdefault(one.task, []).append(is_accepted)
    if not accepted[True] or not accepted[False]:
        raise ValueError(
            f"{len(accepted[True])} right and {len(accepted[False])} wrong images were judged; expected some of both"
        )
    return Operating(threshold, share(accepted[False]), share(accepted[True]))


def calibrated(judged: Sequence[Judged], most: float) -> Operating | None:
    """Return the lowest threshold that accepts at most this share of the wrong images; None: not even the highest does.

    It is one of the probabilities that were found, so that no higher one accepts as many right images.
    """
    for threshold in sorted({one.probability for one in judged if one.probability > 0}):
        found = operating(judged, threshold)
        if found.false_accepts.value <= most:
            return found
    return None
