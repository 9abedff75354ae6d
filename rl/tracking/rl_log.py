"""The log of an RL run: metrics.jsonl, the trackers and the terminal."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from math import isnan
from typing import Any

from actors.store.learned import LearnedLog
from actors.store.store import Store
from rl.answer_counts import answer_metrics
from rl.batch import batch_metrics, learnable
from rl.evaluation import Evaluation
from rl.recipe.config import Recipe
from rl.tracking.group_metrics import group_metrics
from rl.tracking.pictures import strips
from rl.tracking.service_metrics import idle_shares, throughput
from rl.tracking.step_log import StepLog
from rl.tracking.user_metrics import load_metric, user_metrics
from rollout.text.counted import counted
from rollout.types import Batch, Group, Phase

_NUM_PICTURES = 8


class Log(StepLog[Recipe]):
    """Collects a step's metrics and writes them together when the step ends."""

    columns = (
        ("reward", "reward/mean", "{:6.3f}"),
        ("sem. gain", "critique/semantic_gain", "{:+9.2f}"),
        ("verdict", "critique/verdict_accuracy", "{:7.0%}"),
        ("parsed", "critique/parse_rate", "{:6.0%}"),
        ("zero-var", "rollout/zero_variance_share", "{:8.0%}"),
        ("failed", "rollout/failure_share", "{:6.0%}"),
        ("entropy", "policy/entropy", "{:7.3f}"),
        ("grad", "policy/grad_norm", "{:6.2f}"),
        ("gap", "publish/max_logprob_gap", "{:7.0e}"),
    )
    waits_for = "rollouts"

    def __init__(self, recipe: Recipe, *, learned: LearnedLog | None = None, **options: Any):
        """`learned` is told what each step learns from."""
        super().__init__(recipe, **options)
        self._learned = learned

    async def groups(self, groups: Sequence[Group], version: int = 0, more: Mapping[str, float] | None = None) -> None:
        """Log what a step's rollouts say, and `more`; `version` is the policy's that will learn from them."""
        self.metrics(more or {})
        self.metrics(await asyncio.to_thread(group_metrics, groups, version))
        self.metrics(await asyncio.to_thread(batch_metrics, groups, self._recipe))
        if self._recipe.answers == "public":
            self.metrics(await asyncio.to_thread(answer_metrics, groups))
        own = {path: load_metric(path) for path in self._recipe.tracking.metrics}
        found, wrong = await asyncio.to_thread(user_metrics, own, groups, self._row)
        self.metrics(found)
        for text in wrong:
            self.warn(f"tracking.metrics has {text}")
        if self._learned is not None:
            chosen = {id(group) for group in learnable(groups, self._recipe)}
            told = [(group, id(group) in chosen) for group in groups]
            await self._in_thread(self._learned.append, self._step, version, told)

    def update(self, metrics: Mapping[str, float], batch: Batch) -> None:
        """Note what an update came to; of a gradient that is not finite also whose it is."""
        self.metrics(metrics)
        if (row := metrics.get("policy/not_finite_row")) is not None:
            whose = "the samples' sum, not of one of them" if row < 0 else batch.rows[int(row)].name
            self.warn(f"left out: a gradient that is {metrics['policy/grad_norm']}, of {whose}")

    async def evaluation(self, evaluation: Evaluation, phase: Phase = Phase.DURING, step: int | None = None) -> None:
        """Log an evaluation; before and after training it stands by itself, outside a step."""
        step = self._step if step is None else step
        figures = await asyncio.to_thread(evaluation.figures) if evaluation.rows else {}
        values = {f"eval/{name}": value for name, value in figures.items()}
        values["eval/failed_samples"] = float(evaluation.num_failed)
        await self._in_thread(self._show_pictures, evaluation.groups, step)
        if phase is Phase.DURING:
            await self._in_thread(self._write, values, step)  # a row of its own: later steps have theirs by now
        else:
            self._row |= {f"{key}_{phase}": value for key, value in values.items()} | await self._services()
            self._watch_loop()
            row, self._row = self._row, {}
            await self._in_thread(self._write, row, step)
            # Last: a run that finds the file does not evaluate again.
            await self._in_thread(evaluation.save, self._folder / f"evaluation_{phase}.json")
            self._mark = time.monotonic()
        shown = "  ".join(f"{name} {'-' if isnan(value) else f'{value:.3f}'}" for name, value in figures.items())
        lost = f", {evaluation.num_failed} lost" if evaluation.num_failed else ""
        name = f"{phase} step {step}" if phase is Phase.DURING else str(phase)
        self._console.print(f"[bold]evaluation {name}[/] ({counted(len(evaluation.rows), 'answer')}{lost})  {shown}")

    async def beside(self, values: Mapping[str, float], step: int) -> None:
        """Log what was found beside training, in a row of its own."""
        await self._in_thread(self._write, values, step)

    async def close(self) -> None:
        await super().close()
        if self._learned is not None:
            self._learned.close()

    def _rates(self, seconds: float) -> Mapping[str, float]:
        busy = seconds - self._row.get("seconds/evaluation", 0.0)
        rates = idle_shares(self._row, seconds, self._recipe) | throughput(self._row, busy, self._recipe)
        if self._recipe.max_staleness:
            rates["rollout/starved_share"] = self._row["seconds/waiting_for_rollouts"] / seconds
        return rates

    def _show_pictures(self, groups: Sequence[Group], step: int) -> None:
        if self._trackers:
            pictures = list(strips(groups, Store(self._recipe.store), _NUM_PICTURES))
            self._chart(lambda tracker: tracker.images("before | rejected | regenerated", pictures, step))
