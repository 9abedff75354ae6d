"""Which groups a page shows if not all of a run's fit: the extremes of what it sorts by, then an even choice."""

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from actors.store.ledger import LedgerRow
from rollout.text.seeds import seed_of

SHARE_OF_ENDS = 0.1
"""Share of the page for each preset."""


@dataclass(frozen=True)
class Shown:
    """A group that the page shows."""

    rows: Sequence[LedgerRow]
    advantages: dict[int, float]
    """By the sample's index; empty if nothing was learned from the group."""
    is_flat: bool
    """Its rewards are all equal."""


def select_groups(groups: Iterable[Shown], limit: int) -> tuple[list[Shown], int]:
    """Return whole groups with at most `limit` samples in total (0: all), in order, and the number of all samples.

    A tenth each is reserved for groups with failures, the lowest and highest rewards, and the judge's largest gains and
    spreads, which the page's presets look for. The rest is an even choice over the run. The choice is deterministic,
    and only groups that are on the page or may still be are held in memory.
    """
    if not limit:
        every = list(groups)
        return every, sum(len(group.rows) for group in every)
    ends = [_Highest(rank, int(limit * SHARE_OF_ENDS)) for rank in (_failure, _worst, _best, _gain, _spread)]
    even = _Highest(_luck, limit)
    num_samples = 0
    for place, group in enumerate(groups):
        num_samples += len(group.rows)
        for kept in (*ends, even):
            kept.offer(place, group)
    chosen: dict[int, Shown] = {}
    num_chosen = 0
    for place, group in (found for kept in (*ends, even) for found in kept.best_first()):
        if place not in chosen and (not chosen or num_chosen + len(group.rows) <= limit):
            chosen[place] = group
            num_chosen += len(group.rows)
    return [chosen[place] for place in sorted(chosen)], num_samples


class _Highest:
    """The groups of highest rank: at most `limit` samples, but at least one group."""

    def __init__(self, rank: Callable[[Shown], float | None], limit: int):
        self._rank, self._limit = rank, limit
        self._heap: list[tuple[float, int, Shown]] = []
        self._num_samples = 0

    def offer(self, place: int, group: Shown) -> None:
        rank = self._rank(group)
        if rank is None:
            return
        heapq.heappush(self._heap, (rank, -place, group))  # of equals, keep the first
        self._num_samples += len(group.rows)
        while self._num_samples > self._limit and len(self._heap) > 1:
            self._num_samples -= len(heapq.heappop(self._heap)[2].rows)

    def best_first(self) -> list[tuple[int, Shown]]:
        return [(-place, group) for _, place, group in sorted(self._heap, key=lambda item: item[:2], reverse=True)]


def _luck(group: Shown) -> float:
    """Rank pseudo-randomly, the same each time: the even choice over the run."""
    first = group.rows[0]
    return -seed_of(first["phase"], first["step"], first["task_id"])


def _failure(group: Shown) -> float | None:
    return _luck(group) if any(row.get("failure") for row in group.rows) else None


def _worst(group: Shown) -> float | None:
    return _largest(-row["reward"]["total"] for row in group.rows if row.get("reward"))


def _best(group: Shown) -> float | None:
    return _largest(row["reward"]["total"] for row in group.rows if row.get("reward"))


def _gain(group: Shown) -> float | None:
    """Rank by the judge's mean score of the new image minus that of the old one."""
    scored = (row for row in group.rows if row.get("scores"))
    return _largest(_mean(row["scores"]) - _mean(row.get("rejudged") or row["baseline"]) for row in scored)


def _spread(group: Shown) -> float | None:
    judged = (scores for row in group.rows for scores in (row.get("scores"), row.get("rejudged")) if scores)
    return _largest(spread for scores in judged if (spread := scores.get("spread") or 0.0) > 0)


def _mean(scores: dict[str, float]) -> float:
    return (scores["semantics"] + scores["quality"]) / 2


def _largest(values: Iterable[float]) -> float | None:
    return max((value for value in values if math.isfinite(value)), default=None)
