"""The matrix as a table, its figures beside their bars, and JSON of both."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.exactly_once.count import BREACHES
from benchmarks.exactly_once.matrix import LEADS, Tried

MOST_DIFFERENCE = 1e-5
"""Of metrics of learning at max_staleness 0, beside a run that was left alone."""


@dataclass(frozen=True)
class Bar:
    """A figure and what it has to be."""

    name: str
    value: float
    least: float
    most: float

    @property
    def is_met(self) -> bool:
        return self.least <= self.value <= self.most


def bars(tried: Sequence[Tried], kills: int) -> list[Bar]:
    """Return the figures of all cells together."""
    runs = [run for one in tried for run in one.runs]
    found = [Bar("kills", sum(one.kills for one in tried), kills, float("inf"))]
    found += [Bar(name.replace("_", " in "), sum(run.breaches[name] for run in runs), 0, 0) for name in BREACHES]
    in_flight = sum(run.in_flight for run in runs)
    on_policy = [run.difference for one in tried if one.cell.k == 0 for run in one.runs]
    return [
        *found,
        Bar("repeated", sum(run.repeated for run in runs), 0, in_flight),
        Bar("difference of metrics at k=0", max(on_policy, default=0.0), 0.0, MOST_DIFFERENCE),
    ]


def show(tried: Sequence[Tried], kills: int, console: Console) -> list[str]:
    """Print a line for each victim and moment, then the bars; return those that are missed."""
    table = Table(title="k = 0 / 1 / 2")
    for title in ("killed", "at", "kills", "lost", "twice", "again", "doubled", "missing", "repeated of in flight"):
        table.add_column(title)
    for who, moment in dict.fromkeys((one.cell.who, one.cell.moment) for one in tried):
        table.add_row(
            who, moment, *_columns([one for one in tried if (one.cell.who, one.cell.moment) == (who, moment)])
        )
    console.print(table)
    missed = []
    for bar in bars(tried, kills):
        limits = f"at least {bar.least:g}" if bar.most == float("inf") else f"at most {bar.most:g}"
        console.print(f"{bar.name:30} {bar.value:10g}   {limits}{'' if bar.is_met else '   MISSED'}")
        missed += [] if bar.is_met else [bar.name]
    for one in tried:
        for run in one.runs:
            for text in run.wrong[:3] if any(run.breaches.values()) else ():
                console.print(f"{one.cell}: {text}")
    return missed


def save(tried: Sequence[Tried], kills: int, path: Path) -> None:
    """Write all figures."""
    figures = [asdict(bar) | {"is_met": bar.is_met} for bar in bars(tried, kills)]
    path.write_text(json.dumps({"bars": figures, "cells": [asdict(one) for one in tried]}, indent=1, default=str))


def _columns(row: Sequence[Tried]) -> list[str]:
    by_lead = {one.cell.k: one for one in row}

    def each(figure: str) -> str:
        return " / ".join(
            str(sum(getattr(run, name) for run in by_lead[k].runs for name in figure.split())) if k in by_lead else "-"
            for k in LEADS
        )

    kills = " / ".join(str(by_lead[k].kills) if k in by_lead else "-" for k in LEADS)
    doubled = each("doubled_metrics doubled_ledger doubled_tracker")
    repeated = f"{each('repeated')} of {each('in_flight')}"
    return [kills, each("lost"), each("twice"), each("again unbilled"), doubled, each("missing"), repeated]
