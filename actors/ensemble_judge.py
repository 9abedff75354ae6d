"""Several judges as one: mean, median or minimum of each dimension, with their disagreement."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from rewards.agreement import over_members
from rollout.roles import BudgetSpent, Judge, JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores

Verdict = TypeVar("Verdict")


@dataclass(frozen=True)
class EnsembleJudge:
    """Satisfies `rollout.roles.Judge`: all members answer, or there is no score.

    With whoever happens to answer, samples of one group would stand before different juries, and a failure
    would move their scores. What a member answered is kept (paid for once) even where another one fails.
    """

    members: Mapping[str, Judge]
    """By the names that stand in a score's reason."""
    combine: str
    """mean, median or min (`rewards.agreement.COMBINATIONS`)."""
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
        """Return each member's bill and their sum, keyed `judge/<member>/...` and `judge/...`."""
        total: Counter[str] = Counter()
        bills: dict[str, float] = {}
        for name, member in self.members.items():
            bill = await member.stats()
            bills |= bill
            total.update({key: amount for key, amount in _named(bill, f"{self.area}/{name}/").items() if _adds_up(key)})
        return bills | {f"{self.area}/{key}": amount for key, amount in total.items()}

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


def _adds_up(key: str) -> bool:
    """Say whether a number of the bill is a sum: not a share, not a percentile."""
    return not key.endswith(("_share", "_p50_s", "_p95_s"))
