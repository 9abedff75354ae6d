"""An ablation's table as text: its cells for the terminal and for the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from rl.ablation.config import SFT
from rl.ablation.table import PAPER_GAIN, Gap, Table


@dataclass(frozen=True)
class TextTable:
    """A title, the heads of columns, and rows of cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def text_tables(table: Table) -> list[TextTable]:
    """Return the tables that have rows."""
    tables = [
        TextTable(
            "steps satisfied, intervals over training seeds and stories",
            ("", "tries", "seeds", "satisfied, %", "95 % interval", "each seed, %"),
            [
                [
                    row.name,
                    str(row.tries),
                    str(row.num_seeds or ""),
                    _percent(row.satisfied.value),
                    f"{_percent(row.satisfied.low)} to {_percent(row.satisfied.high)}",
                    "  ".join(map(_percent, row.by_seed.values())) if row.num_seeds > 1 else "",
                ]
                for row in table.rows
            ],
        ),
        _of_gaps("what each agent adds, paired, points of 100", table.order),
        _of_gaps("what each part of RL adds, paired, points of 100", table.variants),
        _of_gaps(f"RL's gain over {SFT}, % of {SFT}'s share (the paper's: {PAPER_GAIN} %)", table.gains),
    ]
    return [one for one in tables if one.rows]


def notes(table: Table) -> list[str]:
    """Return what a reader of the table has to know beside it."""
    found = []
    if table.missing:
        found.append(f"not there yet: {', '.join(table.missing)}")
    if failed := [(row.name, row.tries, row.num_errors) for row in table.rows if row.num_errors]:
        told = ", ".join(f"{name}, tries {tries}: {count}" for name, tries, count in failed)
        found.append(f"steps on whose way a call failed count as not satisfied: {told}")
    return found


def _of_gaps(title: str, gaps: Sequence[Gap]) -> TextTable:
    rows = [
        [
            gap.what,
            str(gap.tries),
            str(gap.num_seeds or ""),
            _points(gap.gap.value),
            f"{_points(gap.gap.low)} to {_points(gap.gap.high)}",
            gap.verdict,
        ]
        for gap in gaps
    ]
    return TextTable(title, ("", "tries", "seeds", "gap", "95 % interval", ""), rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
