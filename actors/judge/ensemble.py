"""Several judges as one: mean, median or minimum of each dimension, with their disagreement."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rewards.judging.aggregate import over_members
from rollout.roles import BudgetSpent, Judge, JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores

Verdict = TypeVar("Verdict")


@dataclass(frozen=True)
class EnsembleJudge:
    """Satisfies `rollout.roles.Judge`: all members answer, or there is no score.

    If any members that happen to answer were enough, samples of one group would face different juries, and a failure
    would move their scores. What a member answered is kept (paid for once) even where another one fails.
    """

    members: Mapping[str, Judge]
    """By the names that stand in a score's reason."""
    combine: str
    """mean, median or min (`rewards.judging.aggregate.COMBINATIONS`)."""
    area: str = "judge"
    """First part of the metrics' names; a member's begin with `area/name`."""

    async def score(self, request: ScoreRequest) -> Scores:
        """Return the combined scores; their spread is over members. Raises `JudgeError`, `BudgetSpent`."""
        looks = await self._gather({name: member.score(request) for name, member in self.members.items()})
        return over_members(looks, self.combine)

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        """Return the combined scores of the old and the new attempt; a member tells of both or of neither."""
        looks = await self._gather({name: member.compare(request) for name, member in self.members.items()})
        old, new = ({name: look[side] for name, look in looks.items()} for side in (0, 1))
        return over_members(old, self.combine), over_members(new, self.combine)

    async def stats(self) -> dict[str, float]:
        """Return each member's bill, keyed `judge/<member>/...`, and that of all, keyed `judge/...`.

        Counts and places add up. A look waits for every member: its latency is that of the slowest one. The busy
        share is that of all places.
        """
        bills: dict[str, float] = {}
        named: list[dict[str, float]] = []
        for name, member in self.members.items():
            bill = await member.stats()
            bills |= bill
            named.append(_named(bill, f"{self.area}/{name}/"))
        return bills | {f"{self.area}/{key}": amount for key, amount in _of_all(named).items()}

    async def _gather(self, calls: Mapping[str, Awaitable[Verdict]]) -> dict[str, Verdict]:
        """Return what every member said; raise when one said nothing."""
        answers = dict(zip(calls, await asyncio.gather(*calls.values(), return_exceptions=True), strict=True))
        errors = {name: answer for name, answer in answers.items() if isinstance(answer, BaseException)}
        for error in sorted(errors.values(), key=lambda error: not isinstance(error, BudgetSpent)):
            if not isinstance(error, JudgeError):
                raise error
        if errors:
            detail = "; ".join(f"{name}: {error}" for name, error in errors.items())
            raise JudgeError(f"{len(errors)} of {len(answers)} members failed: {detail}")
        return {name: answer for name, answer in answers.items() if not isinstance(answer, BaseException)}


def _named(bill: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {key.removeprefix(prefix): amount for key, amount in bill.items() if key.startswith(prefix)}


def _of_all(bills: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return several members' bill as one; keys of members' own members stay with them.

    >>> _of_all([{"usd": 1.0, "latency_p50_s": 2.0}, {"usd": 0.5, "latency_p50_s": 3.0, "0-gpt-4.1/usd": 0.5}])
    {'usd': 1.5, 'latency_p50_s': 3.0}
    """
    total: dict[str, float] = {}
    for bill in bills:
        for key, amount in bill.items():
            if "/" in key.removeprefix("faults/") or key.endswith("_share"):
                continue
            is_latency = key.startswith("latency_")
            total[key] = max(total.get(key, 0.0), amount) if is_latency else total.get(key, 0.0) + amount
    if places := total.get("places"):
        busy = sum(bill["busy_share"] * bill["places"] for bill in bills if "busy_share" in bill)
        total["busy_share"] = busy / places
    return total
