"""One place where metrics are logged: metrics.jsonl, the trackers and the terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from actors.store import Store
from rl.alerts import Alerts
from rl.batch import batch_metrics
from rl.config import Recipe
from rl.evaluation import Evaluation
from rl.loop_watch import LoopWatch
from rl.metrics import group_metrics
from rl.metrics_file import append_metrics, drop_metrics_after, read_metrics
from rl.pictures import strips
from rl.service_metrics import idle_shares, step_metrics, throughput
from rl.step_table import StepTable
from rl.stream import RolloutsFailed
from rl.trackers import Tracker, start_trackers
from rollout.roles import BudgetSpent
from rollout.types import Group, Phase

__all__ = ["Log", "Stats", "read_metrics"]

Stats = Callable[[], Awaitable[Mapping[str, float]]]
"""Returns what the services have counted so far, keyed `service/name`."""

_NUM_PICTURES = 8


class Log:
    """Collects a step's metrics and writes them together when the step ends.

    Files and trackers have a thread of their own: the loop has rollouts to look after.
    """

    stops = (BudgetSpent, RolloutsFailed)
    """Errors that end a run in good order: the step's metrics are written all the same."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        resumed_after: int = 0,
        console: Console | None = None,
        stats: Stats | None = None,
        watch: LoopWatch | None = None,
    ):
        """Prepare a log; `start` makes one that may be used."""
        self.collapse: str | None = None
        """Why the run is to stop, by the recipe's `tracking.stop_on`."""
        self._recipe = recipe
        self._folder = Path(recipe.run_dir)
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._table = StepTable(self._console, recipe.num_steps)
        self._stats, self._watch = stats, watch
        self._alerts = Alerts(recipe.tracking.alerts)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tracking")
        self._trackers: list[Tracker] = []
        self._counts: Mapping[str, float] = {}
        self._step = resumed_after
        self._row: dict[str, float] = {}
        self._mark = time.monotonic()
        self._seconds: list[float] = []

    @classmethod
    async def start(cls, recipe: Recipe, **options: Any) -> Log:
        """Open files and trackers; the options are those of the class. A resumed run goes on where it was saved."""
        log = cls(recipe, **options)
        kept = await log._in_thread(log._open)
        for row in kept:
            log._alerts.observe(row)
        await log._services()  # what was counted before is no step's
        return log

    @asynccontextmanager
    async def step(self, step: int) -> AsyncIterator[None]:
        """Collect the metrics of one step; write them when it ends without an error, or by what `stops` a run."""
        waited = time.monotonic() - self._mark - self._row.get("seconds/saving", 0.0)
        self._step = step
        self._row["seconds/waiting_for_rollouts"] = waited
        stopped: Exception | None = None
        try:
            yield
        except self.stops as error:  # what the step came to until then is what tells why
            stopped = error
        seconds = time.monotonic() - self._mark
        self._mark = time.monotonic()
        self._seconds.append(seconds)
        self._row["seconds/step"] = seconds
        self._row |= await self._services()
        self._row |= idle_shares(self._row, seconds, self._recipe)
        self._row |= throughput(self._row, seconds - self._row.get("seconds/evaluation", 0.0), self._recipe)
        self._watch_loop()
        await self._alert()
        row, self._row = self._row, {}
        await self._in_thread(self._write, row, step)
        self._table.show(step, row, fmean(self._seconds) * (self._recipe.num_steps - step))
        if stopped is not None:
            raise stopped

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Log how long something took, as `seconds/name`; what is outside of steps counts to the next one."""
        began = time.monotonic()
        try:
            yield
        finally:
            key = f"seconds/{name}"
            self._row[key] = self._row.get(key, 0.0) + time.monotonic() - began

    async def groups(self, groups: Sequence[Group], version: int = 0) -> None:
        """Log what a step's rollouts say; `version` is the policy's that will learn from them."""
        self.metrics(await asyncio.to_thread(group_metrics, groups, version))
        self.metrics(await asyncio.to_thread(batch_metrics, groups, self._recipe))

    def metrics(self, metrics: Mapping[str, float]) -> None:
        self._row.update(metrics)

    async def evaluation(self, evaluation: Evaluation, phase: Phase = Phase.DURING, step: int | None = None) -> None:
        """Log an evaluation; before and after training it stands by itself, outside a step."""
        step = self._step if step is None else step
        figures = await asyncio.to_thread(evaluation.figures)
        values = {f"eval/{name}": value for name, value in figures.items()}
        values["eval/failed_samples"] = float(evaluation.num_failed)
        await self._in_thread(self._show_pictures, evaluation.groups, step)
        if phase is Phase.DURING:
            self.metrics(values)
        else:
            self._row |= {f"{key}_{phase}": value for key, value in values.items()} | await self._services()
            self._watch_loop()
            row, self._row = self._row, {}
            await self._in_thread(evaluation.save, self._folder / f"evaluation_{phase}.json")
            await self._in_thread(self._write, row, step)
            self._mark = time.monotonic()
        shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        lost = f", {evaluation.num_failed} lost" if evaluation.num_failed else ""
        self._console.print(f"[bold]evaluation {phase}[/] ({len(evaluation.rows)} answers{lost})  {shown}")

    def warn(self, text: str) -> None:
        self._console.print(f"[yellow]step {self._step}: {text}[/]")

    def say(self, text: str) -> None:
        self._console.print(text)

    async def close(self) -> None:
        for tracker in self._trackers:
            await self._in_thread(tracker.close)
        self._thread.shutdown()

    async def _services(self) -> dict[str, float]:
        if self._stats is None:
            return {}
        before, self._counts = self._counts, await self._stats()
        return step_metrics(before, self._counts)

    def _watch_loop(self) -> None:
        if self._watch is None:
            return
        metrics, slow = self._watch.take()
        self._row |= metrics
        if slow:
            self.warn(f"the loop was held up by a callback that computes: {slow[0]}")

    async def _alert(self) -> None:
        for alert in self._alerts.observe(self._row):
            self.warn(f"alert {alert.text}")
            for tracker in self._trackers:
                await self._in_thread(tracker.alert, f"{self._recipe.name}: {alert.name}", alert.text, self._step)
            if alert.name in self._recipe.tracking.stop_on:
                self.collapse = self.collapse or alert.text
        self._row |= self._alerts.flags()

    def _open(self) -> list[dict[str, Any]]:
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = drop_metrics_after(self._folder, self._step)
        self._trackers = start_trackers(self._recipe, self._step + 1, kept)
        return kept

    def _write(self, row: Mapping[str, float], step: int) -> None:
        append_metrics(self._folder, {"step": step, **row})
        for tracker in self._trackers:
            tracker.log(row, step)

    def _show_pictures(self, groups: Sequence[Group], step: int) -> None:
        if self._trackers:
            pictures = list(strips(groups, Store(Path(self._recipe.store).resolve()), _NUM_PICTURES))
            for tracker in self._trackers:
                tracker.images("before | rejected | regenerated", pictures, step)

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
