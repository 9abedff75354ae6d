"""Planner and critic (`rollout.roles`) as a sampler or a function serves them, and how they are asked."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from rollout.roles import Sampler
from rollout.stages import StageTimer
from rollout.text.critique import render_messages
from rollout.text.plan import Plan, format_plan, render_request
from rollout.text.readers import Reading
from rollout.types import CriticInput, ModelAnswer, Request, SampleRequest, SamplingParams

RETRY_TEMPERATURE = 0.7
"""Of greedy sampling's further answers: a new seed alone would change nothing."""

Parsed = TypeVar("Parsed")
PlanFunction = Callable[[str, int], Plan]
"""`plan(request, num_images)`; raises ValueError for a request that it cannot plan."""


@dataclass(frozen=True)
class _Model:
    """A model that a sampler serves."""

    sampler: Sampler
    template: str
    """Text of its prompt file."""
    params: SamplingParams

    async def _ask(self, request: SampleRequest) -> ModelAnswer:
        response = await self.sampler.sample(request)
        return ModelAnswer(request.seed, response.text, is_truncated=response.is_truncated)


@dataclass(frozen=True)
class ModelPlanner(_Model):
    """A planner that a sampler serves."""

    async def plan(self, request: Request, seed: int, repeat: int = 0) -> ModelAnswer:
        messages = render_request(self.template, request.text, len(request.images))
        return await self._ask(SampleRequest(messages, request.images, params_of(self.params, repeat), seed))


@dataclass(frozen=True)
class ModelCritic(_Model):
    """The critic, asked as it is in training."""

    async def criticise(self, shown: CriticInput, seed: int, repeat: int = 0) -> ModelAnswer:
        return await self._ask(critic_request(self.template, shown, params_of(self.params, repeat), seed))


@dataclass(frozen=True)
class FunctionPlanner:
    """A planner that is a function: for worlds whose requests have a grammar, and for tests."""

    function: PlanFunction

    async def plan(self, request: Request, seed: int, repeat: int = 0) -> ModelAnswer:
        return ModelAnswer(seed, format_plan(self.function(request.text, len(request.images))))


def critic_request(template: str, shown: CriticInput, params: SamplingParams, seed: int) -> SampleRequest:
    """Return the one question that the critic is asked, in training as in stories."""
    return SampleRequest(render_messages(template, shown), (shown.before, shown.after), params, seed)


async def ask_until_parsed(
    ask: Callable[[int, int], Awaitable[ModelAnswer]],
    read: Callable[[str], Reading[Parsed]],
    seeds: Iterable[int],
    timer: StageTimer,
) -> tuple[Parsed | None, tuple[ModelAnswer, ...]]:
    """Ask a model until its answer can be read, once a seed, each with its own.

    Return what was read (None: nothing could be, `timer.failure` says why) and every answer.
    `ask(seed, repeat)` counts repeats from 0; `read` raises what it finds wrong.
    """
    answers: list[ModelAnswer] = []
    for repeat, seed in enumerate(seeds):
        answer = ModelAnswer(seed, "")
        with timer.failing():
            answer = await ask(seed, repeat)
            reading = read(answer.text)
        if timer.failure is None:
            return reading.what, (*answers, replace(answer, leniencies=reading.leniencies))
        if answer.is_truncated:
            timer.failure = replace(timer.failure, error=f"truncated: {timer.failure.error}")
        answers.append(replace(answer, error=timer.failure.error))
    return None, tuple(answers)


def params_of(params: SamplingParams, repeat: int) -> SamplingParams:
    """Return the sampling parameters of an answer; repeats count from 0.

    >>> greedy = SamplingParams(temperature=0.0)
    >>> params_of(greedy, 0).temperature, params_of(greedy, 1).temperature
    (0.0, 0.7)
    """
    if repeat == 0 or params.temperature > 0:
        return params
    return replace(params, temperature=RETRY_TEMPERATURE)
