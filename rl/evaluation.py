"""How good the critic is on held-out tasks, and how much better it became: paired, with intervals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rewards.compose import weighted_mean
from rl.atomic_write import atomic_write
from rl.json_file import read_object
from rl.recipe.config import EvaluationConfig
from rl.stream import RollOut, check_failures
from rl.whole_files import last_step
from rollout.concurrency import all_of
from rollout.text.seeds import seed_of
from rollout.types import Group, GroupRequest, Phase, Sample, Scores, Task

_NUM_RESAMPLES = 4000
_AT_ONCE = 200
"""Resamples in one go: some megabytes for thousands of rows."""


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """What one response to one held-out task was worth. `nan` where a column does not apply."""

    task_id: str
    index: int
    is_failed_task: bool
    is_parsed: bool
    is_right: bool
    """The verdict equals the label; an unparsable answer is wrong."""
    reward: float
    """The recipe's reward without its format term, divided by the remaining weights."""
    semantic_gain: float
    """Judge's semantics after minus before, in points of 10; failed tasks only (unparsable: 0)."""
    is_fixed: float
    """1 when a failed task's new image reaches the threshold, else 0; failed tasks only."""


@dataclass(frozen=True)
class Evaluation:
    """Rows of all (task, response) pairs, with the groups they come from."""

    rows: tuple[EvaluationRow, ...]
    groups: tuple[Group, ...]
    num_failed: int
    """Samples lost to infrastructure; they are in no figure."""

    def figures(self) -> dict[str, float]:
        """Return the figures of merit by name."""
        columns, once = _columns(self.rows), np.ones((1, len(self.rows)))
        return {name: float(figure(columns, once)[0]) for name, figure in FIGURES.items()}

    def save(self, path: Path) -> None:
        """Write figures and rows; the groups are in the ledger."""
        rows = [asdict(row) for row in self.rows]
        atomic_write(path, json.dumps({"figures": self.figures(), "num_failed": self.num_failed, "rows": rows}))

    @classmethod
    def load(cls, path: Path) -> Evaluation:
        """Read what `save` wrote; the groups stay in the ledger. Raises ValueError for a file that is damaged."""
        saved = read_object(path)
        try:
            return cls(tuple(EvaluationRow(**row) for row in saved["rows"]), (), int(saved["num_failed"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged: it is no evaluation ({type(error).__name__}: {error})") from None


def evaluated_before(run_dir: Path) -> Evaluation | None:
    """Return a run's evaluation before training; None where it is still to be made.

    Raises ValueError where it is damaged, or has gone from a run that has learned: it cannot be made again then.
    """
    path, step = run_dir / "evaluation_before.json", last_step(run_dir)
    instead = f"what was before training cannot be measured after step {step}: put the file back, or choose another run"
    if path.exists():
        try:
            return Evaluation.load(path)
        except ValueError as error:
            raise ValueError(f"{error}; {instead if step else 'remove it, and it is made again'}") from None
    if step:
        raise ValueError(f"{path} is missing; {instead}")
    return None


Columns = dict[str, np.ndarray]


def _columns(rows: Sequence[EvaluationRow]) -> Columns:
    names = ("is_failed_task", "is_parsed", "is_right", "reward", "semantic_gain", "is_fixed")
    return {name: np.array([getattr(row, name) for row in rows], dtype=float) for name in names}


def _mean(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean of the values that are numbers, for each way to count them.

    values: (rows,); counts: (draws, rows); returns (draws,), nan where no number is counted.
    """
    is_number = ~np.isnan(values)
    num = counts[:, is_number].sum(axis=1)
    means: np.ndarray = np.divide(
        counts[:, is_number] @ values[is_number], num, out=np.full(len(num), np.nan), where=num > 0
    )
    return means


def _balanced_accuracy(columns: Columns, counts: np.ndarray) -> np.ndarray:
    """Return the mean of the accuracies on failed and on successful tasks, of those that there are."""
    is_failed, is_right = columns["is_failed_task"] == 1, columns["is_right"]
    by_label = [_mean(np.where(mask, is_right, np.nan), counts) for mask in (is_failed, ~is_failed)]
    mean: np.ndarray = np.nanmean(by_label, axis=0)
    return mean


FIGURES: dict[str, Callable[[Columns, np.ndarray], np.ndarray]] = {
    "reward": lambda columns, counts: _mean(columns["reward"], counts),
    "semantic_gain": lambda columns, counts: _mean(columns["semantic_gain"], counts),
    "fixed": lambda columns, counts: _mean(columns["is_fixed"], counts),
    "verdict_accuracy": _balanced_accuracy,
    "parsed": lambda columns, counts: _mean(columns["is_parsed"], counts),
}
"""A figure of all rows, for each way to count them, as `_mean` has it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after, and the paired 95 % interval of the difference."""

    before: float
    after: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        return self.after - self.before


def compare(before: Evaluation, after: Evaluation, seed: int = 0) -> dict[str, Change]:
    """Return the change of each figure over the rows that both have, bootstrapped by task.

    Resampling tasks rather than rows keeps the responses of one task together, as they are not independent.
    """
    key = {(row.task_id, row.index): row for row in after.rows}
    pairs = [(row, key[row.task_id, row.index]) for row in before.rows if (row.task_id, row.index) in key]
    if not pairs:
        raise ValueError("the two evaluations share no (task, response); were they made from the same tasks?")
    first, second = _columns([row for row, _ in pairs]), _columns([row for _, row in pairs])
    tasks, task_of_row = np.unique([row.task_id for row, _ in pairs], return_inverse=True)
    rng, once = np.random.default_rng(seed), np.ones((1, len(pairs)))
    draws: dict[str, list[np.ndarray]] = {name: [] for name in FIGURES}
    for num_done in range(0, _NUM_RESAMPLES, _AT_ONCE):
        picked = rng.integers(len(tasks), size=(min(_AT_ONCE, _NUM_RESAMPLES - num_done), len(tasks)))
        counts = np.stack([np.bincount(row, minlength=len(tasks)) for row in picked])[:, task_of_row].astype(float)
        for name, figure in FIGURES.items():
            draws[name].append(figure(second, counts) - figure(first, counts))
    changes = {}
    for name, figure in FIGURES.items():
        low, high = np.nanpercentile(np.concatenate(draws[name]), [2.5, 97.5])
        changes[name] = Change(float(figure(first, once)[0]), float(figure(second, once)[0]), float(low), float(high))
    return changes


@dataclass(frozen=True)
class Evaluator:
    """Rolls out held-out tasks with fixed seeds, so that two evaluations differ by the policy alone."""

    settings: EvaluationConfig
    tasks: Sequence[Task]
    roll_out: RollOut
    weights: dict[str, float]
    """Weights of the reward's terms that count here: all but the format."""
    max_failure_share: float = 0.5
    """Share of failed samples that makes an evaluation void."""

    async def __call__(self, num_tasks: int, phase: Phase, step: int = 0) -> Evaluation:
        """Evaluate on the first `num_tasks` tasks (0: all); `phase` and `step` are for the ledger.

        Raises `RolloutsFailed` where too many samples failed.
        """
        evaluation = await self.evaluate(self.requests(num_tasks, phase, step))
        check_failures(evaluation.groups, self.max_failure_share, "evaluation")
        return evaluation

    def requests(self, num_tasks: int, phase: Phase, step: int) -> list[GroupRequest]:
        """Return what an evaluation asks for: always the same of the same tasks."""
        n, seed = self.settings.num_seeds, self.settings.seed
        return [
            GroupRequest(
                task,
                n,
                seed_of(seed, "sample"),
                tuple(seed_of(seed, "edit", task.id, i) for i in range(n)),
                phase,
                step,
            )
            for task in self.tasks[: num_tasks or None]
        ]

    async def evaluate(self, requests: Sequence[GroupRequest]) -> Evaluation:
        """Roll out requests and return what they came to, however many samples failed."""
        groups = await all_of(map(self.roll_out, requests))
        return await asyncio.to_thread(self._evaluate, groups)

    def _evaluate(self, groups: Sequence[Group]) -> Evaluation:
        samples = [(group.task, sample) for group in groups for sample in group.samples]
        rows = tuple(self._row(task, sample) for task, sample in samples if sample.is_valid)
        return Evaluation(rows, tuple(groups), num_failed=len(samples) - len(rows))

    def _is_fixed(self, scores: Scores) -> bool:
        return scores.semantics >= self.settings.fixed_semantics and scores.quality >= self.settings.fixed_quality

    def _row(self, task: Task, sample: Sample) -> EvaluationRow:
        assert sample.evidence is not None
        assert sample.reward is not None
        critique, scores = sample.evidence.critique, sample.evidence.scores
        is_failed_task = not task.is_success
        gain = fixed = float("nan")
        if is_failed_task:
            gain = scores.semantics - sample.evidence.baseline.semantics if scores else 0.0
            fixed = float(scores is not None and self._is_fixed(scores))
        return EvaluationRow(
            task_id=task.id,
            index=sample.index,
            is_failed_task=is_failed_task,
            is_parsed=critique is not None,
            is_right=critique is not None and critique.is_success == task.is_success,
            reward=weighted_mean(sample.reward.terms, self.weights),
            semantic_gain=gain,
            is_fixed=fixed,
        )
