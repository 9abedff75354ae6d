"""What a critic's verdicts in stories came to: which images it accepted rightly, and which wrongly, try by try.

A step is satisfied if the image that it shows is right: accepted rightly, or right all the same when its tries ran out.
So what is lost was accepted wrongly, or never drawn.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from evals.clusters import Interval, share
from evals.stories import Arm, StepRow, TryRow
from rollout.story import StepStatus


@dataclass(frozen=True)
class TryVerdicts:
    """Verdicts on the images of one try, over all steps that came to it."""

    number: int
    """Which try, from 1."""
    accepted_rightly: int
    accepted_wrongly: int
    rejected_rightly: int
    rejected_wrongly: int

    @property
    def balanced_accuracy(self) -> float | None:
        """The mean share of right verdicts on right and on wrong images; None where there are not both."""
        right, wrong = self.accepted_rightly + self.rejected_wrongly, self.accepted_wrongly + self.rejected_rightly
        return (self.accepted_rightly / right + self.rejected_rightly / wrong) / 2 if right and wrong else None


@dataclass(frozen=True)
class Steps:
    """Some steps of an arm, and how many of them are satisfied."""

    count: int
    satisfied: int


@dataclass(frozen=True)
class Verdicts:
    """An arm's steps by what became of them."""

    by_try: tuple[TryVerdicts, ...]
    accepted: Steps
    out_of_tries: Steps
    """No try was accepted."""
    without_verdict: Steps
    """The rest: the plan lacks the step, an image or a verdict could not be had."""
    before_wrong: Steps
    """Steps on an image that was wrong already: an earlier step of the story is not satisfied."""
    false_accepts: Interval | None
    """Share of the first images below the bar that were accepted, intervals over stories. None: there are none."""


def verdicts_of(arm: Arm) -> Verdicts:
    """Return what became of an arm's steps."""
    columns = zip_longest(*(row.tries for row in arm.rows))
    by_try = tuple(_by_truth(number, column) for number, column in enumerate(columns, 1))
    accepted = [row for row in arm.rows if row.status == StepStatus.ACCEPTED]
    spent = [row for row in arm.rows if row.status == StepStatus.BEST_OF_TRIES]
    others = [row for row in arm.rows if row.status not in (StepStatus.ACCEPTED, StepStatus.BEST_OF_TRIES)]
    behind = _after_a_wrong_one(arm.rows)
    return Verdicts(by_try, _steps(accepted), _steps(spent), _steps(others), _steps(behind), _false_accepts(arm.rows))


def _by_truth(number: int, tries: Iterable[TryRow | None]) -> TryVerdicts:
    pairs = [(one.is_accepted, one.is_right) for one in tries if one is not None]
    cells = ((True, True), (True, False), (False, False), (False, True))
    return TryVerdicts(number, *map(pairs.count, cells))


def _steps(rows: Sequence[StepRow]) -> Steps:
    return Steps(len(rows), sum(row.is_satisfied for row in rows))


def _after_a_wrong_one(rows: Iterable[StepRow]) -> list[StepRow]:
    """Return the steps behind each story's first one that is not satisfied; rows are in the order of steps."""
    wrong: set[str] = set()
    behind = []
    for row in rows:
        if row.story in wrong:
            behind.append(row)
        elif not row.is_satisfied:
            wrong.add(row.story)
    return behind


def _false_accepts(rows: Iterable[StepRow]) -> Interval | None:
    trials: dict[str, list[bool]] = {}
    for row in rows:
        first = row.tries[0] if row.tries else None
        if first is not None and first.is_right is False and first.is_accepted is not None:
            trials.setdefault(row.story, []).append(first.is_accepted)
    return share(trials) if trials else None
