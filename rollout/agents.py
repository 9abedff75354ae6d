"""Planner and critic (`rollout.roles`) as a sampler or a function serves them, and how they are asked."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from rollout.roles import Sampler
from rollout.stages import StageTimer
from rollout.text.critique import render_messages
from rollout.text.limits import NonNegativeInt, PositiveInt, check_fields
from rollout.text.plan import Plan, format_plan, render_request
from rollout.text.readers import Reading
from rollout.text.success_probability import SureBy, success_probability
from rollout.types import CriticInput, ModelAnswer, Request, SampleRequest, SamplingParams
from rollout.types.arrays import TokenIds

RETRY_TEMPERATURE = 0.7
"""Of greedy sampling's further answers: a new seed alone would change nothing."""

Parsed = TypeVar("Parsed")
PlanFunction = Callable[[str, int], Plan]
"""`plan(request, num_images)`; raises ValueError for a request that it cannot plan."""


@dataclass(frozen=True)
class ImageLimit:
    """Smaller images where a prompt has many of them."""

    num_images: NonNegativeInt = 0
    """From so many images on (the public system: 5); 0: never."""
    max_pixels: PositiveInt = 384 * 384
    """Pixels of the largest image in such a prompt; larger ones are scaled down. As in the public system."""

    def __post_init__(self) -> None:
        check_fields(self, "many_images")

    def of(self, num_images: int) -> int | None:
        """Return the limit for a prompt with so many images; None: there is none.

        >>> [ImageLimit(5).of(4), ImageLimit(5).of(5), ImageLimit().of(5)]
        [None, 147456, None]
        """
        return self.max_pixels if 0 < self.num_images <= num_images else None


@dataclass(frozen=True)
class _Model:
    """A model that a sampler serves."""

    sampler: Sampler
    template: str
    """Text of its prompt file."""
    params: SamplingParams
    split: Callable[[TokenIds], Sequence[str]] | None = None
    """Gives the text of each token, where the probability of a verdict is looked for."""
    sure_by: str = SureBy.VERDICT

    async def _ask(self, request: SampleRequest) -> ModelAnswer:
        response = await self.sampler.sample(request)
        answer = ModelAnswer(request.seed, response.text, is_truncated=response.is_truncated)
        if self.split is None:
            return answer
        probability = success_probability(self.split(response.token_ids), response.logprobs.tolist(), self.sure_by)
        return replace(answer, success_probability=probability)


@dataclass(frozen=True)
class ModelPlanner(_Model):
    """A planner that a sampler serves."""

    guidance: str = ""
    """Text of the prompt file for requests with images; empty: `template` is for all."""
    left_out: tuple[str, ...] = ()
    """What is taken out of a request, word for word."""
    many_images: ImageLimit = ImageLimit()

    async def plan(self, request: Request, seed: int, repeat: int = 0) -> ModelAnswer:
        text, images = request.text, request.images
        for words in self.left_out:
            text = text.replace(words, "")
        template = self.guidance if images and self.guidance else self.template
        messages = render_request(template, text, len(images))
        params, max_pixels = params_of(self.params, repeat), self.many_images.of(len(images))
        return await self._ask(SampleRequest(messages, images, params, seed, max_pixels))


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
        plan = self.function(request.text, len(request.images))
        if not isinstance(plan, Plan):
            raise TypeError(f"the planner's function returned a {type(plan).__name__}, expected a Plan")
        return ModelAnswer(seed, format_plan(plan))


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
