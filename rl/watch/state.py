"""How a run stands: whether it lives, how far it is, what it has cost, who waits for whom, and why it ended."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.store.ledger import holds_samples
from rl.run_dir.ended import read_end
from rl.run_dir.lock import holder_of
from rl.run_dir.resume import saved_in
from rl.tracking.counted import counted_names
from rl.tracking.course import Course, rounded

RECENT = 20
"""Newest steps over which means are taken."""
_STAGES = ("update", "publish", "evaluation", "saving", "export")
"""What a step does beside waiting for what it learns from: `seconds/<stage>`."""
_PARTS = ("policy", "samplers", "generator", "judge")
_JOURNEY = ("sample", "generate", "judge", "evidence", "reward")
_FIGURES = ("reward", "semantic_gain", "fixed", "verdict_accuracy", "parsed")


@dataclass(frozen=True)
class About:
    """What a run's recipe says of it, as far as it could be read."""

    name: str
    num_steps: int | None
    num_gpus: float | None
    store: Path | str | None


def state_of(run_dir: Path, about: About, course: Course, *, is_partial: bool = False) -> dict[str, object]:
    """Return a run's state for its page; sums over a course that `is_partial` are None."""
    life = _life(run_dir, about, course)
    return {
        "name": about.name,
        "folder": str(run_dir.resolve()),
        "now": round(time.time(), 3),
        **life,
        "phase": _phase(run_dir, about, course) if life["is_alive"] else "",
        "steps": {"done": course.num_steps, "all": about.num_steps},
        "began": course.first_time or None,
        "last_row": course.last_time or None,
        "cost": None if is_partial else _cost(about, course, is_alive=life["is_alive"]),
        "failures": None if is_partial else _failures(course),
        "waits": _waits(course),
        "evaluations": _evaluations(course),
        "alerts": [name.removeprefix("alerts/") for name in course.columns if _rings(course, name)],
    }


def _life(run_dir: Path, about: About, course: Course) -> dict[str, Any]:
    held = holder_of(run_dir)
    if held is not None and held[1]:
        return {"is_alive": True, "how": "running", "why": f"{held[0]}"}
    is_killed = held is not None
    ended = read_end(run_dir)
    if ended is not None and not is_killed:
        return {"is_alive": False, "how": ended.how, "why": ended.why, "ended": ended.time}
    if (run_dir / "report.html").is_file() and course.num_steps and course.num_steps == about.num_steps:
        return {"is_alive": False, "how": "finished", "why": ""}
    if is_killed:
        logs = f"; logs of its processes are in {run_dir / 'failed_logs'}" if (run_dir / "failed_logs").is_dir() else ""
        gone = f"{held[0] if held else ''} ended without saying why: it was killed, or its machine went down"
        why = f"{gone}; {saved_in(run_dir)}: the same command with --resume auto goes on{logs}"
        return {"is_alive": False, "how": "killed", "why": why}
    if not course.num_rows:
        return {"is_alive": False, "how": "not begun", "why": "no process is in the folder, and no step was done"}
    return {
        "is_alive": False,
        "how": "ended",
        "why": "no process is in the folder, and nothing there says how it ended",
    }


def _phase(run_dir: Path, about: About, course: Course) -> str:
    """Return what a living run does outside its steps; empty where it is within them."""
    if not course.num_rows:
        return "evaluating before training" if holds_samples(run_dir / "ledger") else "starting the actors"
    if not course.num_steps:
        return "in its first step"
    return "evaluating and exporting" if about.num_steps == course.num_steps else ""


def _cost(about: About, course: Course, *, is_alive: bool) -> dict[str, object]:
    """Return hours, GPU hours and dollars so far, and what they come to at the end at the pace of the newest steps."""
    paid = counted_names(course.columns, "usd")
    done, seconds = course.num_steps, course.total("seconds/step")
    left = max(0, about.num_steps - done) if about.num_steps else 0
    step_s = course.recent("seconds/step", RECENT) or 0.0
    usd = sum(course.total(name) for name in paid)
    usd_left = left * sum(course.recent(name, RECENT) or 0.0 for name in paid) + _last_evaluation(course, paid)
    hours, hours_left = seconds / 3600, left * step_s / 3600
    gpus = about.num_gpus or 0.0
    told = {"hours": (hours, hours_left), "GPU hours": (hours * gpus, hours_left * gpus), "US dollars": (usd, usd_left)}
    has = {"hours": True, "GPU hours": bool(gpus), "US dollars": bool(paid)}
    return {
        "so_far": {name: rounded(so_far) for name, (so_far, _) in told.items() if has[name]},
        "at_end": {name: rounded(sum(both)) for name, both in told.items() if has[name]}
        if about.num_steps and done
        else {},
        "seconds_left": rounded(left * step_s) if is_alive and done and about.num_steps else None,
        "seconds_a_step": rounded(step_s) if done else None,
    }


def _last_evaluation(course: Course, paid: set[str]) -> float:
    """Return what the evaluation after training will cost: as much as the one before; 0 once it is done."""
    if "eval/reward_after" in course.columns or "eval/reward_before" not in course.columns:
        return 0.0
    columns = [course.columns[name] for name in paid]
    return sum(column.values[0] for column in columns if column.values and column.steps[0] == 0)


def _failures(course: Course) -> dict[str, object]:
    """Return failed samples by stage, faults of services and answers that did not parse, in all and of late."""
    return {
        "samples": course.total("rollout/samples"),
        "stages": _counts(course, "failures/"),
        "faults": [
            {**row, "name": row["name"].replace("/faults/", ": ")}
            for row in _counts(course, "", inside="/faults/")
            if "_total/" not in row["name"]
        ],
        "unparsable": _counts(course, "format_errors/"),
    }


def _counts(course: Course, start: str, inside: str = "") -> list[dict[str, Any]]:
    """Return name, sum, and sum over the newest rows of what was counted at all, the most frequent first."""
    rows = [
        {"name": name.removeprefix(start), "total": column.total, "recent": sum(column.values[-RECENT:])}
        for name, column in course.columns.items()
        if name.startswith(start) and inside in name and column.total
    ]
    return sorted(rows, key=lambda row: (-row["total"], row["name"]))


def _waits(course: Course) -> dict[str, object]:
    """Return how the newest steps spent their time, who was idle meanwhile, and how long a sample's parts took."""
    step_s = course.recent("seconds/step", RECENT)
    if not step_s:
        return {}
    last = course.columns["seconds/step"].steps[-RECENT:][0]
    spent = {name.removeprefix("seconds/"): _over(course, name, last) for name in _stage_names(course)}
    number = len(course.columns["seconds/step"].values[-RECENT:])
    means = {name: total / number for name, total in spent.items()}
    other = step_s - sum(value for name, value in means.items() if name not in ("saving", "export"))
    stages = {name.replace("_", " "): rounded(value) for name, value in means.items()} | {
        "other": rounded(max(0.0, other))
    }
    idle = {part: rounded(share) for part in _PARTS if (share := course.recent(f"idle/{part}", RECENT)) is not None}
    return {
        "num_steps": number,
        "step": rounded(step_s),
        "stages": stages,
        "idle": idle,
        "sentence": _sentence(means, idle, step_s),
        "journey": {
            part: [rounded(course.recent(f"seconds/{part}{end}", RECENT) or 0.0) for end in ("", "_p50", "_p95")]
            for part in _JOURNEY
            if f"seconds/{part}" in course.columns
        },
    }


def _stage_names(course: Course) -> list[str]:
    waiting = [name for name in course.columns if name.startswith("seconds/waiting_for_")]
    return [*waiting, *(f"seconds/{stage}" for stage in _STAGES if f"seconds/{stage}" in course.columns)]


def _over(course: Course, name: str, first: int) -> float:
    """Return the sum of a metric over the steps from one on: one that is not in every row must not count twice."""
    column = course.columns[name]
    newest = zip(column.steps[-RECENT:], column.values[-RECENT:], strict=True)
    return sum(value for step, value in newest if step >= first)


def _sentence(stages: Mapping[str, float], idle: Mapping[str, float], step_s: float) -> str:
    """Say in one line what a step waits for."""
    waiting = next((name for name in stages if name.startswith("waiting_for_")), None)
    if waiting is None:
        return ""
    share = stages[waiting] / step_s
    said = f"The policy waits for {waiting.removeprefix('waiting_for_')} {share:.0%} of a step"
    others = {part: value for part, value in idle.items() if part != "policy"}
    if not others:
        return f"{said}."
    busiest = min(others, key=lambda part: others[part])
    return f"{said}; the busiest of the other roles is {busiest} ({1 - others[busiest]:.0%} of its time)."


def _evaluations(course: Course) -> dict[str, object]:
    """Return the figures of the evaluations before and after training, and of the newest during it."""
    columns = {"before": "_before", "during": "", "after": "_after"}
    figures = {
        figure: [
            None if (value := course.last(f"eval/{figure}{end}")) is None else rounded(value)
            for end in columns.values()
        ]
        for figure in _FIGURES
    }
    during = course.columns.get("eval/reward")
    return {
        "figures": {name: values for name, values in figures.items() if any(value is not None for value in values)},
        "during_step": during.steps[-1] if during and during.steps else None,
    }


def _rings(course: Course, name: str) -> bool:
    return name.startswith("alerts/") and bool(course.last(name))
