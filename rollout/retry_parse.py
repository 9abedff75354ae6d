"""Ask a model until its answer can be read: a bounded number of times, each with a seed of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from rollout.stages import StageTimer
from rollout.types import ModelAnswer

What = TypeVar("What")


async def ask_until_parsed(
    ask: Callable[[int, int], Awaitable[ModelAnswer]],
    read: Callable[[str], What],
    seeds: Iterable[int],
    timer: StageTimer,
) -> tuple[What | None, tuple[ModelAnswer, ...]]:
    """Return what was read (None: nothing could be, `timer.failure` says why) and every answer.

    `ask(seed, repeat)` is called once a seed, repeats counted from 0; `read` raises what it finds wrong.
    """
    answers: list[ModelAnswer] = []
    for repeat, seed in enumerate(seeds):
        answer = ModelAnswer(seed, "")
        with timer.failing():
            answer = await ask(seed, repeat)
            what = read(answer.text)
        if timer.failure is None:
            return what, (*answers, answer)
        if answer.is_truncated:
            timer.failure = replace(timer.failure, error=f"truncated: {timer.failure.error}")
        answers.append(replace(answer, error=timer.failure.error))
    return None, tuple(answers)
