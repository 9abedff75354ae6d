"""Lines while something takes long: whoever waits sees that it goes on, and how far it is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from rl.evaluation import Evaluation, Evaluator
from rollout.types import Group, GroupRequest, Phase

EVERY_S = 120.0


@asynccontextmanager
async def telling_every(seconds: float, tell: Callable[[str], None], line: Callable[[], str]) -> AsyncIterator[None]:
    """Tell again and again, as long as this is open, what `line` returns then."""

    async def keep_telling() -> None:
        while True:
            await asyncio.sleep(seconds)
            tell(line())

    telling = asyncio.create_task(keep_telling())
    try:
        yield
    finally:
        telling.cancel()


async def evaluate_aloud(
    evaluator: Evaluator, num_tasks: int, phase: Phase, step: int, tell: Callable[[str], None], every_s: float = EVERY_S
) -> Evaluation:
    """Evaluate (`Evaluator.__call__`) and tell now and then how many of the `num_tasks` tasks are done."""
    num_done = 0

    async def roll_out(request: GroupRequest) -> Group:
        nonlocal num_done
        group = await evaluator.roll_out(request)
        num_done += 1
        return group

    async with telling_every(every_s, tell, lambda: f"  {num_done} of {num_tasks} tasks are evaluated"):
        return await replace(evaluator, roll_out=roll_out)(num_tasks, phase, step)
