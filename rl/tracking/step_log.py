"""A run's log, whatever it teaches: the metrics of a step are collected, and written together when it ends."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, Generic, Self, TypeVar

from rich.console import Console
from rich.markup import escape

from rewards.compose import raised
from rl.recipe.jobs import TrainingRecipe
from rl.tracking.alerts import Alerts
from rl.tracking.loop_watch import LoopWatch
from rl.tracking.metrics_file import append_metrics, drop_metrics_after
from rl.tracking.service_metrics import step_metrics
from rl.tracking.trackers import Tracker, start_trackers
from rl.writable import FULL
from rollout.roles import BudgetSpent, RunStopped
from rollout.text.foreign import error_text

Stats = Callable[[], Awaitable[Mapping[str, float]]]
"""Returns what the services have counted so far, keyed `service/name`."""

Column = tuple[str, str, str]
"""Title, metric and format."""
_HEADER_EVERY = 20

R = TypeVar("R", bound=TrainingRecipe)


class StepLog(ABC, Generic[R]):
    """What the logs of all runs share. A kind of run says which columns it shows and which rates follow from a step.

    Files and trackers have a thread of their own: the loop has other things to look after.
    """

    columns: tuple[Column, ...]
    """Of the terminal's table."""
    waits_for: str
    """What a step begins with: `seconds/waiting_for_<this>`."""

    def __init__(
        self,
        recipe: R,
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
        self._table = _StepTable(self._console, recipe.num_steps, self.columns)
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
    async def start(cls, recipe: R, **options: Any) -> Self:
        """Open files and trackers; the options are those of the class. A resumed run goes on where it was saved."""
        log = cls(recipe, **options)
        if kept := await log._in_thread(log._open):
            for row in kept:
                log._alerts.observe(row)
            log._alerts.rearm(recipe.tracking.stop_on)  # a run that is still as bad stops again
        if log._stats is not None:
            log._counts = await log._stats()  # what was counted before is no step's
        return log

    @asynccontextmanager
    async def step(self, step: int) -> AsyncIterator[None]:
        """Collect the metrics of one step; write them when it ends without an error, or by one that stops the run."""
        between = self._row.get("seconds/saving", 0.0) + self._row.get("seconds/export", 0.0)
        waited = time.monotonic() - self._mark - between
        self._step = step
        self._row[f"seconds/waiting_for_{self.waits_for}"] = waited
        stopped: Exception | None = None
        try:
            yield
        except (BudgetSpent, RunStopped) as error:  # what the step came to until then is what tells why
            stopped = error
        try:
            await self._end_step(step)
        except Exception as error:
            if stopped is None:
                raise
            self.warn(f"its metrics were not written: {error_text(error)}")
        if stopped is not None:
            raise stopped

    async def _end_step(self, step: int) -> None:
        seconds = time.monotonic() - self._mark
        self._mark = time.monotonic()
        self._seconds.append(seconds)
        self._row["seconds/step"] = seconds
        self._row |= await self._services()
        self._row |= self._rates(seconds)
        self._watch_loop()
        await self._alert()
        row, self._row = self._row, {}
        await self._in_thread(self._write, row, step)
        self._table.show(step, row, fmean(self._seconds) * (self._recipe.num_steps - step))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Log how long something took, as `seconds/name`; what is outside of steps counts to the next one."""
        began = time.monotonic()
        try:
            yield
        finally:
            key = f"seconds/{name}"
            self._row[key] = self._row.get(key, 0.0) + time.monotonic() - began

    def metrics(self, metrics: Mapping[str, float]) -> None:
        self._row.update(metrics)

    def warn(self, text: str) -> None:
        """Print a warning: a plain text, in which brackets are brackets."""
        self._console.print(f"[yellow]step {self._step}: {escape(text)}[/]")

    def say(self, text: str) -> None:
        self._console.print(text)

    async def close(self) -> None:
        """Close files and trackers. One that cannot be closed is told: a run is worth more than its chart."""
        for tracker in self._trackers:
            try:
                await self._in_thread(tracker.close)
            except Exception as error:
                self.warn(f"{type(tracker).__name__} was not closed: {' '.join(error_text(error).split())}")
        self._thread.shutdown()

    @abstractmethod
    def _rates(self, seconds: float) -> Mapping[str, float]:
        """Return what follows from the step's other metrics and its wall time, keyed `area/name`."""

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
            await self._in_thread(self._chart_alert, f"{self._recipe.name}: {alert.name}", alert.text, self._step)
            if alert.name in self._recipe.tracking.stop_on:
                self.collapse = self.collapse or alert.text
        self._row |= self._alerts.flags()

    def _open(self) -> list[dict[str, object]]:
        self._folder.mkdir(parents=True, exist_ok=True)
        # The time of a row is its file's: trackers have clocks of their own.
        kept = [
            {name: value for name, value in row.items() if name != "time"}
            for row in drop_metrics_after(self._folder, self._step)
        ]
        self._trackers = start_trackers(self._recipe, self._step + 1, kept)
        return kept

    def _write(self, row: Mapping[str, float], step: int) -> None:
        append_metrics(self._folder, {"step": step, "time": round(time.time(), 3), **row})
        self._chart(lambda tracker: tracker.log(row, step))

    def _chart_alert(self, title: str, text: str, step: int) -> None:
        self._chart(lambda tracker: tracker.alert(title, text, step))

    def _chart(self, tell: Callable[[Tracker], None]) -> None:
        """Tell each tracker. What it fails at is told and not charted: a run is worth more than its chart."""
        for tracker in self._trackers:
            try:
                tell(tracker)
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise
                self.warn(f"{type(tracker).__name__} {raised(error)}; that is not charted")

    async def _in_thread(self, function: Callable[..., object], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)


class _StepTable:
    """The terminal's table: prints the header now and then, and a line for each step."""

    def __init__(self, console: Console, num_steps: int, columns: tuple[Column, ...]):
        self._console = console
        self._num_steps = num_steps
        self._columns = columns
        self._num_lines = 0

    def show(self, step: int, row: Mapping[str, float], seconds_left: float) -> None:
        if self._num_lines % _HEADER_EVERY == 0:
            titles = "  ".join(title.rjust(len(form.format(0.0))) for title, _, form in self._columns)
            self._console.print(f"[bold]{'step':>9}  {titles}     ETA[/]")
        self._num_lines += 1
        cells = "  ".join(
            form.format(row[key]) if key in row else "-".rjust(len(form.format(0.0))) for _, key, form in self._columns
        )
        self._console.print(f"{step:>4}/{self._num_steps:<4}  {cells}  {_minutes(seconds_left):>6}")


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
