"""An ablation's plot: steps satisfied by number of tries, a line an arm, with 95 % intervals."""

import io
from collections.abc import Sequence

from evals.stories import ALONE, PLANNED
from rl.ablation.table import Row, Table

_COLOURS = ("#b4442f", "#2457c5", "#14804a", "#8a5ab5", "#b3851d", "#2a8c9c", "#c25a93", "#5d6675")
_DODGE = 0.07
"""How far the intervals of neighbouring arms stand apart, in tries."""


def draw(table: Table) -> dict[str, bytes]:
    """Return the plot as SVG and PNG, by these names, drawn by matplotlib without a display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 4.6), layout="constrained")
    axes = figure.subplots()
    for name, colour in ((ALONE, "#9aa3b2"), (PLANNED, "#66707f")):
        (row,) = [row for row in table.rows if row.name == name]
        axes.axhline(100 * row.satisfied.value, color=colour, linewidth=1.2, linestyle="--", label=_label([row]))
        axes.axhspan(100 * row.satisfied.low, 100 * row.satisfied.high, color=colour, alpha=0.12, linewidth=0)
    arms = _by_name([row for row in table.rows if row.name not in (ALONE, PLANNED)])
    for place, rows in enumerate(arms):
        middle = [100 * row.satisfied.value for row in rows]
        below = [100 * (row.satisfied.value - row.satisfied.low) for row in rows]
        above = [100 * (row.satisfied.high - row.satisfied.value) for row in rows]
        axes.errorbar(
            [row.tries + _DODGE * (place - (len(arms) - 1) / 2) for row in rows],
            middle,
            yerr=[below, above],
            color=_COLOURS[place % len(_COLOURS)],
            label=_label(rows),
            marker="o",
            markersize=4,
            linewidth=1.4,
            elinewidth=1.0,
            capsize=2,
        )
    axes.set_xticks(sorted({row.tries for row in table.rows}))
    axes.set_xlabel("most tries of a step")
    axes.set_ylabel("steps satisfied, %")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    drawn = {}
    for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
        drawn[kind] = buffer.getvalue()
    return drawn


def _by_name(rows: Sequence[Row]) -> list[list[Row]]:
    names = dict.fromkeys(row.name for row in rows)
    return [[row for row in rows if row.name == name] for name in names]


def _label(rows: Sequence[Row]) -> str:
    seeds = max(row.num_seeds for row in rows)
    return rows[0].name + (f", {seeds} seed{'s' if seeds > 1 else ''}" if seeds else "")
