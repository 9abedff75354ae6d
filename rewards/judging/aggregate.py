"""Combine several scores of one image: repeats of a judge, and members of an ensemble."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median, pstdev

from rollout.types import Scores

COMBINATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {"mean": fmean, "median": median, "min": min}


def over_repeats(looks: Sequence[Scores]) -> Scores:
    """Return the mean of a judge's independent answers, and their spread (population standard deviation).

    >>> over_repeats([Scores(4, 8, "blue"), Scores(6, 10, "bluish")])
    Scores(semantics=5.0, quality=9.0, reason='blue || bluish', spread=1.0)
    """
    if len(looks) == 1:
        return looks[0]
    return _combine(looks, fmean, " || ".join(look.reason for look in looks))


def over_members(looks: Mapping[str, Scores], combination: str) -> Scores:
    """Return an ensemble's scores, combined by a name of `COMBINATIONS`, and its members' spread.

    >>> over_members({"a": Scores(2, 8, "no box"), "b": Scores(8, 8, "fine"), "c": Scores(9, 7, "red")}, "median")
    Scores(semantics=8, quality=8, reason='a: no box || b: fine || c: red', spread=1.4142135623730951)
    """
    reason = " || ".join(f"{name}: {look.reason}" for name, look in looks.items())
    return _combine(list(looks.values()), COMBINATIONS[combination], reason)


def _combine(looks: Sequence[Scores], of: Callable[[Sequence[float]], float], reason: str) -> Scores:
    semantics, quality = of([look.semantics for look in looks]), of([look.quality for look in looks])
    return Scores(semantics, quality, reason, pstdev([look.mean for look in looks]))
