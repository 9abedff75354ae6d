"""The tables of `interleave eval stories`, for the terminal and for its page alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from evals.clusters import Interval, share
from evals.oracle import PERFECT_CRITIC
from evals.stories import PLANNED, Arm
from evals.verdicts import Steps, verdicts_of

Comparisons = Sequence[tuple[str, Interval]]


@dataclass(frozen=True)
class Sheet:
    """A table as text: the first column is a name, the others are figures."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def sheets_of(arms: Sequence[Arm], comparisons: Comparisons) -> list[Sheet]:
    """Return all tables; those of verdicts where a critic gave any."""
    sheets = [satisfied(arms), differences(comparisons)]
    criticised = [arm for arm in arms if arm.tries > 1]
    return [*sheets, outcomes(criticised), by_try(criticised)] if criticised else sheets


def satisfied(arms: Sequence[Arm]) -> Sheet:
    """Return the share of satisfied steps by arm."""
    best = {arm.tries: share(arm.by_story).value for arm in arms if arm.name == f"{PLANNED} + {PERFECT_CRITIC}"}
    columns = ["", "tries", "satisfied, %", "95 % interval", "steps", "images a step"]
    rows = []
    for arm in arms:
        got, count = share(arm.by_story), len(arm.rows)
        row = [arm.name, str(arm.tries), *_percent(got), str(count), f"{arm.num_images / count:.2f}"]
        if best:
            row.append(f"{100 * got.value / best[arm.tries]:.1f}" if best.get(arm.tries) else "")
        rows.append(tuple(row))
    if best:
        columns.append(f"of the {PERFECT_CRITIC}, %")
    return Sheet("steps satisfied, intervals over stories", tuple(columns), rows)


def differences(comparisons: Comparisons) -> Sheet:
    """Return what each agent adds."""
    rows = []
    for what, got in comparisons:
        between = f"{100 * got.low:+.1f} to {100 * got.high:+.1f}"
        rows.append((what, f"{100 * got.value:+.1f}", between, "apart" if got.is_apart_from_zero else "a tie"))
    columns = ("", "difference", "95 % interval", "")
    return Sheet("differences, paired by story, points of 100", columns, rows)


def outcomes(arms: Sequence[Arm]) -> Sheet:
    """Return what became of each arm's steps."""
    columns = (
        "",
        "tries",
        "accepted",
        "out of tries",
        "no verdict",
        "before wrong",
        "false accepts, %",
        "95 % interval",
    )
    rows = []
    for arm in arms:
        got = verdicts_of(arm)
        cells = map(_right_of, (got.accepted, got.out_of_tries, got.without_verdict, got.before_wrong))
        false = _percent(got.false_accepts) if got.false_accepts else ("", "")
        rows.append((arm.name, str(arm.tries), *cells, *false))
    title = "steps: how many of them satisfied; false accepts: share of the first images below the bar"
    return Sheet(title, columns, rows)


def by_try(arms: Sequence[Arm]) -> Sheet:
    """Return verdicts by try and truth."""
    columns = ("", "tries", "try", "accepted: rightly", "wrongly", "rejected: rightly", "wrongly", "balanced, %")
    rows = []
    for arm in arms:
        for one in verdicts_of(arm).by_try:
            counts = (one.accepted_rightly, one.accepted_wrongly, one.rejected_rightly, one.rejected_wrongly)
            balanced = "" if one.balanced_accuracy is None else f"{100 * one.balanced_accuracy:.1f}"
            rows.append((arm.name, str(arm.tries), str(one.number), *map(str, counts), balanced))
    return Sheet("verdicts on the images of each try, and their balanced accuracy", columns, rows)


def for_terminal(sheet: Sheet) -> Table:
    """Return a table that rich prints."""
    table = Table(title=sheet.title, title_justify="left")
    for column in sheet.columns:
        table.add_column(column, justify="right" if column else "left")
    for row in sheet.rows:
        table.add_row(*map(escape, row))
    return table


def _percent(got: Interval) -> tuple[str, str]:
    return f"{100 * got.value:.1f}", f"{100 * got.low:.1f} to {100 * got.high:.1f}"


def _right_of(steps: Steps) -> str:
    return f"{steps.satisfied} of {steps.count}"
