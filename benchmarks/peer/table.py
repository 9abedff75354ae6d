"""What the runs of both sides come to: samples per second, the stages side by side, and the bars."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

TRL = "TRL"
BARS = {"a": {0: 0.95, 1: 1.1}, "b": {1: 1.6, 2: 2.2}}
"""How many times TRL's samples per second ours has to reach, by part and k."""

_STAGES = {
    "step": "seconds/step",
    "draw": "samplers/seconds",
    "edits": "generator/answers",
    "edit": "generator/run_seconds",
    "wait": "seconds/waiting_for_rollouts",
    "update": "seconds/update",
    "publish": "seconds/publish",
}
"""Stages of ours by the metrics that time them: what sampler and generator were busy for, what the loop waited for."""
_COLUMNS = ("step", "draw", "edit", "reward", "wait", "update", "publish", "edits")


class NoAnswer(RuntimeError):
    """A side ended without the steps that it was to time."""


@dataclass(frozen=True)
class Turn:
    """One run of one side."""

    side: str
    samples_per_s: float
    stages: Mapping[str, float]
    """Means of the counted steps: seconds by stage, and the number of edits. Those of ours overlap."""
    steps: Sequence[Mapping[str, float]] = ()
    """The same of each step, for JSON: what a mean hides."""


def ours(lead: int) -> str:
    """Return what our side is called at a lead of k."""
    return f"ours, k={lead}"


def read_trl(answer: Path, num_samples: int, counted: tuple[int, int]) -> Turn:
    """Return what TRL's side wrote of the steps from the first to the last counted one. Raises `NoAnswer`."""
    rows = json.loads(_text(answer, TRL))["steps"]
    steps = _chosen(dict(enumerate(rows, 1)), counted, TRL)
    known = [{name: row[name] for name in ("step", "draw", "reward", "edits")} for row in steps]
    return _turn(TRL, num_samples, [row | {"update": row["step"] - row["draw"] - row["reward"]} for row in known])


def read_ours(metrics: Path, lead: int, num_samples: int, counted: tuple[int, int]) -> Turn:
    """Return what our run's metrics say of the same. Raises `NoAnswer`."""
    rows = [json.loads(line) for line in _text(metrics, ours(lead)).splitlines()]
    steps = _chosen({row["step"]: row for row in rows if "seconds/step" in row}, counted, ours(lead))
    known = [{name: row.get(metric, 0.0) for name, metric in _STAGES.items()} for row in steps]
    return _turn(ours(lead), num_samples, known)


def show(part: str, turns: Sequence[Turn]) -> int:
    """Print the table of a part and its bars; return 1 where one is missed."""
    sides = list(dict.fromkeys(turn.side for turn in turns))
    print(f"part ({part}), medians of {sum(turn.side == TRL for turn in turns)}")
    print(f"{'':<12}{'samples/s':>10}" + "".join(f"{title:>9}" for title in _COLUMNS) + "   (seconds a step)")
    for side in sides:
        mine = [turn for turn in turns if turn.side == side]
        cells = [f"{speed_of(mine):>10.2f}"]
        for name in _COLUMNS:
            values = [turn.stages[name] for turn in mine if name in turn.stages]
            cells.append(f"{median(values):>9.1f}" if values else f"{'-':>9}")
        print(f"{side:<12}" + "".join(cells))
    missed = False
    for lead, bar in BARS[part].items():
        ratios = ratios_of(turns, ours(lead))
        ratio = median(ratios)
        missed |= ratio < bar
        shown = ", ".join(f"{one:.2f}" for one in ratios)
        print(f"{ours(lead)}: {ratio:.2f} times TRL's ({shown}); bar {bar:g}: {'ok' if ratio >= bar else 'MISSED'}")
    return int(missed)


def speed_of(turns: Sequence[Turn]) -> float:
    return median(turn.samples_per_s for turn in turns)


def ratios_of(turns: Sequence[Turn], side: str) -> list[float]:
    """Return a side's samples per second over TRL's, one for each round of turns.

    >>> ratios_of([Turn(TRL, 10, {}), Turn("ours", 12, {})], "ours")
    [1.2]
    """
    theirs = [turn.samples_per_s for turn in turns if turn.side == TRL]
    mine = [turn.samples_per_s for turn in turns if turn.side == side]
    return [one / other for one, other in zip(mine, theirs, strict=True)]


def _turn(side: str, num_samples: int, steps: Sequence[Mapping[str, float]]) -> Turn:
    means = {name: fmean(step[name] for step in steps) for name in steps[0]}
    return Turn(side, num_samples / means["step"], means, steps)


def _text(file: Path, side: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NoAnswer(f"{side} wrote no {file.name}") from None


def _chosen(steps: Mapping[int, Mapping[str, Any]], counted: tuple[int, int], side: str) -> list[Mapping[str, Any]]:
    first, last = counted
    wanted = range(first, last + 1)
    if missing := [step for step in wanted if step not in steps]:
        raise NoAnswer(f"{side} ended without step {missing[0]}; steps {first} to {last} are counted")
    return [steps[step] for step in wanted]
