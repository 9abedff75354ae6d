"""A story's journey: request -> plan -> for each step image, critique and further tries, until it is accepted.

    planner ─▶ plan ─▶ step: generator ─▶ image ─▶ critic ─┬─▶ accepted: the next step edits this image
                        ▲                                  │
                        └──── a better prompt, a new seed ◀┘  at most `tries` times, then the best try is shown

What fails becomes a status, and everything made before it is kept: `events` ends with `StoryTold`, whatever
happens. Many stories may be told at once; they share what stands behind the roles.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from rollout.concurrency import all_of
from rollout.critic import parse_critique, render_messages
from rollout.plan import PlanStep, parse_plan
from rollout.planner import Planner
from rollout.retry_parse import ask_until_parsed, describe, params_of
from rollout.roles import Generator, Judge, Sampler
from rollout.seeds import seed_of
from rollout.story import (
    DEFAULT_TRIES,
    Planned,
    StepStatus,
    StepTold,
    Story,
    StoryEvent,
    StoryRequest,
    StoryStatus,
    StoryStep,
    StoryTold,
    Tried,
    Try,
    TryStarted,
)
from rollout.types import EditRequest, ImageRef, Response, SampleRequest, SamplingParams, ScoreRequest

NUM_ATTEMPTS = 3
"""How often planner and critic are asked before an answer that can be read is given up."""


@dataclass(frozen=True)
class Shown:
    """What the critic is shown of a try."""

    instruction: str
    prompt: str
    before: ImageRef | None
    after: ImageRef


@dataclass(frozen=True)
class Critic:
    """The critic as at training: the same prompt, the same parser."""

    sampler: Sampler
    template: str
    """Text of the critic's prompt file."""
    params: SamplingParams
    num_attempts: int = NUM_ATTEMPTS

    async def answer(self, shown: Shown, seed: int, attempt: int) -> Response:
        """Return an answer, whose text `parse_critique` reads or refuses; attempts count from 1."""
        messages, images = render_messages(self.template, shown), (shown.before, shown.after)
        return await self.sampler.sample(SampleRequest(messages, images, params_of(self.params, attempt), seed))


@dataclass(frozen=True)
class Storyline:
    """Tells stories."""

    planner: Planner
    generator: Generator
    critic: Critic | None = None
    """None: each step's first image is taken as it is."""
    judge: Judge | None = None
    """Chooses the best of the tries where none was accepted; None: the last one, made by the latest prompt."""
    tries: int = DEFAULT_TRIES
    num_plans: int = NUM_ATTEMPTS
    """How often the planner is asked before the request is given up."""
    num_references: int = 0
    """Earlier images that the generator is shown beside the one to edit, for generators that take several."""

    async def tell(self, request: StoryRequest) -> Story:
        """Return the story. Raises nothing but cancellation: what failed is in it."""
        story = Story(request, StoryStatus.TELLING)
        async with aclosing(self.events(request)) as events:
            async for event in events:
                if isinstance(event, StoryTold):
                    story = event.story
        return story

    async def events(self, request: StoryRequest) -> AsyncGenerator[StoryEvent]:
        """Yield what happens while a story is told; the last event has all of it. Closing it ends the work."""
        seeds = [seed_of(request.seed, request.text, "plan", attempt) for attempt in range(self.num_plans)]
        plan, answers = await ask_until_parsed(
            partial(self.planner.answer, request), partial(parse_plan, mode=request.mode), seeds
        )
        story = Story(request, StoryStatus.TELLING, plan, answers)
        if plan is None:
            error = f"no plan in {len(answers)} answers; the last one: {answers[-1].error}"
            yield StoryTold(replace(story, status=StoryStatus.UNPLANNED, error=error))
            return
        yield Planned(story)
        images = list(request.images)
        for planned in plan.steps:
            step = StoryStep(planned, StepStatus.TEXT if planned.is_text_only else StepStatus.SKIPPED)
            if not planned.is_text_only and story.error is None:
                async with aclosing(self._step(request, planned, images)) as events:
                    async for event in events:
                        if isinstance(event, StoryStep):
                            step = event
                        else:
                            yield event
            if step.image is not None:
                images.append(step.image)
            elif step.status is StepStatus.FAILED:
                story = replace(story, error=f"step {planned.number} has no image: {step.tries[-1].error}")
            story = replace(story, steps=(*story.steps, step))
            yield StepTold(step, story)
        status = StoryStatus.DONE if story.error is None else StoryStatus.INCOMPLETE
        yield StoryTold(replace(story, status=status))

    async def _step(
        self, request: StoryRequest, planned: PlanStep, images: list[ImageRef]
    ) -> AsyncGenerator[TryStarted | Tried | StoryStep]:
        """Yield the events of a step that makes an image, and at last the step itself."""
        before = images[-1] if images else None
        # The newest first: a generator that takes fewer than it is given drops the oldest.
        references = tuple(images[-2 : -2 - self.num_references : -1])
        step = StoryStep(planned, StepStatus.FAILED, before, references)
        assert planned.prompt is not None
        prompt = planned.prompt
        for number in range(1, (request.tries or self.tries) + 1):
            yield TryStarted(planned, number)
            attempt = await self._try(request, step, number, prompt)
            step = replace(step, tries=(*step.tries, attempt))
            yield Tried(planned, attempt)
            if attempt.critique is not None:
                prompt = attempt.critique.refine_prompt
            # Without a verdict there is nothing to learn from, and a further image would be as much of a guess.
            if attempt.is_accepted or (attempt.image is not None and attempt.critique is None):
                break
        yield await self._chosen(step)

    async def _try(self, request: StoryRequest, step: StoryStep, number: int, prompt: str) -> Try:
        planned, start = step.plan, time.monotonic()
        attempt = Try(number, prompt, seed_of(request.seed, request.text, "edit", planned.number, number))
        try:
            image = await self.generator.edit(EditRequest(step.before, prompt, attempt.seed, step.references))
        except Exception as error:
            return replace(attempt, error=describe(error), seconds={"generator": time.monotonic() - start})
        made = time.monotonic()
        attempt = replace(attempt, image=image, seconds={"generator": made - start})
        if self.critic is None:
            return attempt
        assert planned.instruction is not None
        shown = Shown(planned.instruction, prompt, step.before, image)
        parts = (request.seed, request.text, "critique", planned.number, number)
        critique, answers = await ask_until_parsed(
            partial(self.critic.answer, shown),
            parse_critique,
            [seed_of(*parts, again) for again in range(self.critic.num_attempts)],
        )
        seconds = {**attempt.seconds, "critic": time.monotonic() - made}
        return replace(attempt, critique=critique, answers=answers, seconds=seconds)

    async def _chosen(self, step: StoryStep) -> StoryStep:
        """Return the step with the try that it shows."""
        made = [attempt for attempt in step.tries if attempt.image is not None]
        if not made:
            return replace(step, status=StepStatus.FAILED)
        last = made[-1]
        if last.is_accepted:
            return replace(step, status=StepStatus.ACCEPTED, chosen=last.number)
        if last.critique is None:
            return replace(step, status=StepStatus.UNJUDGED, chosen=last.number)
        if self.judge is not None and len(made) > 1:
            step = replace(step, tries=tuple(await all_of(self._scored(step, attempt) for attempt in step.tries)))
            # A later try wins a draw; where the judge fails for all, the last one is shown.
            last = max(
                (attempt for attempt in step.tries if attempt.image is not None),
                key=lambda attempt: (-1.0 if attempt.scores is None else attempt.scores.mean, attempt.number),
            )
        return replace(step, status=StepStatus.BEST_OF_TRIES, chosen=last.number)

    async def _scored(self, step: StoryStep, attempt: Try) -> Try:
        if attempt.image is None:
            return attempt
        assert self.judge is not None
        assert step.plan.instruction is not None
        try:
            scores = await self.judge.score(ScoreRequest(step.before, attempt.image, step.plan.instruction))
        except Exception as error:
            return replace(attempt, error=f"the judge: {describe(error)}")
        return replace(attempt, scores=scores)
