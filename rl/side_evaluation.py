"""Evaluations that do not stop training: each belongs to the version it began with, and runs beside the next steps.

    publish ─▶ answers drawn ─▶ images made, judged ─▶ figures, in a row of the step that it belongs to

The next publish waits for the answers alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from rl.evaluation import Evaluator
from rl.stream import why_void
from rl.tracking.rl_log import Log
from rollout.concurrency import all_of
from rollout.types import Drawn, GroupRequest, Phase

if TYPE_CHECKING:
    from rl.official.during import SideBenchmark

Draw = Callable[[GroupRequest], Awaitable[tuple[Drawn, ...]]]
"""Draws a group's responses (`SingleStep.draw`)."""


class SideEvaluations:
    """Those of one run. On exit they are waited for; by an error they are cancelled."""

    def __init__(self, evaluator: Evaluator, draw: Draw, log: Log, benchmark: SideBenchmark | None = None):
        """`benchmark` begins with evaluations, and nothing but the end of the run waits for it."""
        self._benchmark = benchmark
        self._evaluator = evaluator
        self._draw = draw
        self._log = log
        self._drawing: asyncio.Task[list[GroupRequest]] | None = None
        self._running: dict[int, asyncio.Task[None]] = {}

    async def __aenter__(self) -> SideEvaluations:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self.ended()
        finally:
            running = [task for task in (self._drawing, *self._running.values()) if task is not None]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            if self._benchmark is not None:
                await self._benchmark.end(is_waited_for=kind is None)

    async def begin(self, step: int) -> None:
        """Begin the evaluation of a step, by the weights of now; after the one before it has its answers."""
        await self.drawn()
        self._drawing = asyncio.create_task(self._answers(step), name=f"answers of the evaluation of step {step}")
        self._running[step] = asyncio.create_task(self._evaluate(step, self._drawing), name=f"evaluation of {step}")
        if self._benchmark is not None:
            self._benchmark.begin(step)

    async def drawn(self) -> None:
        """Return once no answer is to be drawn any more, so that samplers may get other weights; raise any error."""
        if self._drawing is not None:
            await self._drawing
        for task in self._running.values():
            if task.done():
                task.result()

    async def ended(self) -> None:
        """Return once all evaluations begun so far are over. Raises what ends a run, as `BudgetSpent`."""
        for step, task in list(self._running.items()):
            await asyncio.shield(task)
            self._running.pop(step, None)

    async def _answers(self, step: int) -> list[GroupRequest]:
        """Return the requests of an evaluation with their answers."""

        async def with_answers(request: GroupRequest) -> GroupRequest:
            return replace(request, drawn=await self._draw(request))

        num_tasks = self._evaluator.settings.num_tasks_during
        return await all_of(map(with_answers, self._evaluator.requests(num_tasks, Phase.DURING, step)))

    async def _evaluate(self, step: int, drawing: asyncio.Task[list[GroupRequest]]) -> None:
        evaluation = await self._evaluator.evaluate(await asyncio.shield(drawing))
        if why := why_void(evaluation.groups, self._evaluator.max_failure_share):
            self._log.warn(f"the evaluation of step {step} has no figures: {why}")  # training counts its own failures
            evaluation = replace(evaluation, rows=())
        await self._log.evaluation(evaluation, Phase.DURING, step)
