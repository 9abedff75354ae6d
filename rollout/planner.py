"""Who plans a story: a model that was taught to, or a function. Both answer in the one form that `parse_plan` reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rollout.plan import Plan, format_plan, render_request
from rollout.retry_parse import params_of
from rollout.roles import Sampler
from rollout.story import StoryRequest
from rollout.types import Response, SampleRequest, SamplingParams

PlanFunction = Callable[[str, int], Plan]
"""`plan(request, num_images)`; raises ValueError for a request that it cannot plan."""


class Planner(Protocol):
    """Turns a request into a plan."""

    async def answer(self, request: StoryRequest, seed: int, attempt: int) -> Response:
        """Return an answer, whose text `rollout.plan.parse_plan` reads or refuses; attempts count from 1."""
        ...


@dataclass(frozen=True)
class ModelPlanner:
    """A planner that a sampler serves."""

    sampler: Sampler
    template: str
    """Text of the planner's prompt file."""
    params: SamplingParams

    async def answer(self, request: StoryRequest, seed: int, attempt: int) -> Response:
        messages = render_request(self.template, request.text, len(request.images))
        return await self.sampler.sample(SampleRequest(messages, request.images, params_of(self.params, attempt), seed))


@dataclass(frozen=True)
class FunctionPlanner:
    """A planner that is a function: for worlds whose requests have a grammar, and for tests."""

    function: PlanFunction

    async def answer(self, request: StoryRequest, seed: int, attempt: int) -> Response:
        return Response((), (), format_plan(self.function(request.text, len(request.images))), (), 0)
