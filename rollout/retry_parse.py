"""Ask a model until its answer can be read: a bounded number of times, each with a seed of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from rollout.text.marks import without_objects
from rollout.types import Response, SamplingParams

RETRY_TEMPERATURE = 0.7
"""Of greedy sampling's further attempts: a new seed alone would change nothing."""

What = TypeVar("What")


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What the planner or the critic said, word for word, read or not."""

    seed: int
    text: str
    error: str | None = None
    """Why it could not be had or read; None: it was read."""


async def ask_until_parsed(
    ask: Callable[[int, int], Awaitable[Response]], read: Callable[[str], What], seeds: Iterable[int]
) -> tuple[What | None, tuple[ModelAnswer, ...]]:
    """Return what was read (None: nothing could be) and every answer. Raises nothing but cancellation.

    `ask(seed, attempt)` is called once a seed, attempts counted from 1; `read` raises ValueError.
    """
    answers: list[ModelAnswer] = []
    for attempt, seed in enumerate(seeds, 1):
        try:
            response = await ask(seed, attempt)
        except Exception as error:
            answers.append(ModelAnswer(seed, "", describe(error)))
            continue
        try:
            what = read(response.text)
        except ValueError as error:
            reason = f"truncated: {error}" if response.is_truncated else str(error)
            answers.append(ModelAnswer(seed, response.text, reason))
            continue
        return what, (*answers, ModelAnswer(seed, response.text))
    return None, tuple(answers)


def params_of(params: SamplingParams, attempt: int) -> SamplingParams:
    """Return the sampling parameters of an attempt.

    >>> greedy = SamplingParams(temperature=0.0)
    >>> params_of(greedy, 1).temperature, params_of(greedy, 2).temperature
    (0.0, 0.7)
    """
    if attempt == 1 or params.temperature > 0:
        return params
    return replace(params, temperature=RETRY_TEMPERATURE)


def describe(error: Exception) -> str:
    """Return an error as one line of a record."""
    return f"{type(error).__name__}: {' '.join(without_objects(str(error)).split())}"[:500]
