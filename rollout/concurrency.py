"""Wait for many coroutines: none outlives the others, or, where answers are paid for, none ends another."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from rollout.roles import BudgetSpent

Result = TypeVar("Result")


async def all_of(coroutines: Iterable[Coroutine[object, object, Result]]) -> list[Result]:
    """Await all, in their order; the first error cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as running:
            tasks = [running.create_task(coroutine) for coroutine in coroutines]
    except* Exception as errors:
        first = errors.exceptions[0]
        raise first from first.__cause__  # not from the group
    return [task.result() for task in tasks]


async def all_settled(coroutines: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Await all, in their order, also after an error: what is in flight is paid for, and kept once it is there.

    The first error in that order is raised as it is, a `BudgetSpent` before any other. Cancelled itself, it cancels.
    """
    answers = await asyncio.gather(*coroutines, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    for error in sorted(errors, key=lambda error: not isinstance(error, BudgetSpent)):
        raise error
    return [answer for answer in answers if not isinstance(answer, BaseException)]
