"""A run's folder as far as the times of its stages are read from it, written by hand."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from actors.store.append_log import AppendLog
from actors.store.ledger import ATTEMPTS, CALLS, SAMPLES
from rl.recipe.config import Recipe
from rl.recipe.reader import to_yaml

START = 1_000_000.0
STEP_S = 100.0


@dataclass
class TimedStep:
    """One step: its samples, its calls and its metrics; seconds."""

    responses: list[float]
    edits: list[float] = field(default_factory=list)
    """On the replica, of those that were tried out; the first samples were."""
    judge_calls: list[float] = field(default_factory=list)
    update_s: float = 2.0
    publish_s: float = 1.0
    metrics: dict[str, float] = field(default_factory=dict)
    num_tokens: int = 50


def timed_run(folder: Path, recipe: Recipe, steps: list[TimedStep]) -> Path:
    """Write the folder; steps take `STEP_S`, of which the driver has half a second."""
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    ledger = folder / "ledger"
    AppendLog(ledger, ATTEMPTS).append([{"attempt": 0, "first_step": 1}])
    samples, calls = AppendLog(ledger, SAMPLES), AppendLog(ledger, CALLS)
    lines = []
    for number, step in enumerate(steps, start=1):
        samples.append(_samples(number, step, recipe.rollout.n))
        calls.append(_calls(number, step))
        lines.append(json.dumps(_metrics(number, step, recipe)) + "\n")
    (folder / "metrics.jsonl").write_text("".join(lines))
    return folder


def _samples(number: int, step: TimedStep, n: int) -> list[dict]:
    rows = []
    for index, seconds in enumerate(step.responses):
        took = {"sample": seconds} | ({"generate": 99.0, "judge": 99.0} if index < len(step.edits) else {})
        place = {"attempt": 0, "phase": "train", "step": number, "task_id": str(index // n), "index": index % n}
        rows.append(place | {"seconds": took, "num_tokens": step.num_tokens})
    return rows


def _calls(number: int, step: TimedStep) -> list[dict]:
    row = {"key": "", "endpoint": "pool", "outcome": "answer", "at": START + number * STEP_S - 50, "counted": {}}
    edits = [{"run_seconds": seconds, "seconds": 90.0, "attempts": 1.0} for seconds in step.edits]
    looks = [{"seconds": seconds, "wait_seconds": 90.0, "attempts": 1.0} for seconds in step.judge_calls]
    return [
        *(row | {"service": "generator", "bill": bill} for bill in edits),
        *(row | {"service": "judge", "bill": bill} for bill in looks),
    ]


def _metrics(number: int, step: TimedStep, recipe: Recipe) -> dict[str, float]:
    groups = len(step.responses) / recipe.rollout.n
    return {
        "step": number,
        "time": START + number * STEP_S,
        "seconds/step": STEP_S,
        "seconds/waiting_for_rollouts": STEP_S - step.update_s - step.publish_s - 0.5,
        "seconds/update": step.update_s,
        "seconds/publish": step.publish_s,
        "rollout/samples": float(len(step.responses)),
        "rollout/groups": groups,
        "batch/learned_groups": groups,
        "judge/calls": float(len(step.judge_calls)),
        "judge_total/calls": 1e6,
    } | step.metrics
