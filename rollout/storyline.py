"""A story: request -> plan -> for each step image, critique and further tries, until it is accepted.

    planner ─▶ plan ─▶ step: generator ─▶ image ─▶ critic ─┬─▶ accepted: the next step edits this image
                        ▲                                  │
                        └──── a better prompt, a new seed ◀┘  at most `tries` times, then the best try is shown

What fails becomes a status, and everything made before it is kept: `events` ends with `StoryTold`, whatever
happens. Many stories may be told at once; they share what stands behind the roles.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from rollout.agents import ask_until_parsed
from rollout.concurrency import all_of
from rollout.roles import Critic, Generator, Judge, Planner
from rollout.stages import StageTimer
from rollout.step_runner import SeedOf, Shown, StepRunner, Tried, TryStarted
from rollout.story import (
    DEFAULT_TRIES,
    Planned,
    StepStatus,
    StepTold,
    Story,
    StoryEvent,
    StoryStatus,
    StoryStep,
    StoryTold,
)
from rollout.text.readers import CONTRACT, AnswerReader
from rollout.text.seeds import seed_of
from rollout.types import Attempt, ImageRef, PlanStep, Request, ScoreRequest, Stage
from rollout.verdict import ONE_ANSWER, VerdictRule

NUM_ATTEMPTS = 3
"""How often planner and critic are asked before an answer that can be read is given up."""


@dataclass(frozen=True)
class Storyline:
    """Tells stories."""

    planner: Planner
    generator: Generator
    critic: Critic | None = None
    """None: each step's first image is taken as it is."""
    judge: Judge | None = None
    """Chooses the best of the tries where none was accepted; None: the critic does, or it is the last one."""
    is_surest_shown: bool = False
    """Where no try was accepted and no judge chooses, show the one of whose success the critic was surest, in place of
    the last one, made by the latest prompt."""
    tries: int = DEFAULT_TRIES
    num_plans: int = NUM_ATTEMPTS
    """How often the planner is asked before the request is given up."""
    num_critiques: int = NUM_ATTEMPTS
    """How often the critic is asked before an image is left unjudged."""
    shown: str = Shown.INSTRUCTION
    """What the critic is shown as a step's instruction."""
    num_references: int = 0
    """Earlier images that the generator is shown beside the one to edit, for generators that take several."""
    rule: VerdictRule = ONE_ANSWER
    """When the critic's answers accept an image."""
    answers: AnswerReader = CONTRACT

    async def tell(self, request: Request) -> Story:
        """Return the story. Raises nothing but cancellation: what failed is in it."""
        story = Story(request, StoryStatus.TELLING)
        async with aclosing(self.events(request)) as events:
            async for event in events:
                if isinstance(event, StoryTold):
                    story = event.story
        return story

    async def events(self, request: Request) -> AsyncGenerator[StoryEvent]:
        """Yield what happens while a story is told; the last event has all of it. Closing it ends the work."""
        seed = partial(seed_of, request.seed, request.text)
        read = partial(self.answers.plan, mode=request.mode)
        seeds = [seed("plan", repeat) for repeat in range(self.num_plans)]
        plan, answers = await ask_until_parsed(partial(self.planner.plan, request), read, seeds, StageTimer(fatal=()))
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
                async with aclosing(self._step(planned, images, request.tries, seed)) as events:
                    async for event in events:
                        if isinstance(event, StoryStep):
                            step = event
                        else:
                            yield event
            if step.image is not None:
                images.append(step.image)
            elif step.status is StepStatus.FAILED:
                failure = step.tries[-1].failure
                assert failure is not None
                story = replace(story, error=f"step {planned.number} has no image: {failure.error}")
            story = replace(story, steps=(*story.steps, step))
            yield StepTold(step, story)
        status = StoryStatus.DONE if story.error is None else StoryStatus.INCOMPLETE
        yield StoryTold(replace(story, status=status))

    async def _step(
        self, planned: PlanStep, images: list[ImageRef], tries: int, seed: SeedOf
    ) -> AsyncGenerator[TryStarted | Tried | StoryStep]:
        """Yield the events of a step that makes an image, and at last the step itself."""
        before = images[-1] if images else None
        # The newest first: a generator that takes fewer than it is given drops the oldest.
        references = tuple(images[-2 : -2 - self.num_references : -1])
        step = StoryStep(planned, StepStatus.FAILED, before, references)
        runner = StepRunner(
            self.generator,
            self.critic,
            num_critiques=self.num_critiques,
            read=self.answers.critique,
            shown=self.shown,
            rule=self.rule,
            fatal=(),
        )
        async with aclosing(runner.tries(planned, before, references, tries or self.tries, seed)) as events:
            async for event in events:
                if isinstance(event, Tried):
                    step = replace(step, tries=(*step.tries, event.attempt))
                yield event
        yield await self._chosen(step)

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
            step = replace(step, tries=tuple(await all_of(map(self._scored, step.tries))))
            # A later try wins a draw; where the judge fails for all, the last one is shown.
            last = max(
                (attempt for attempt in step.tries if attempt.image is not None),
                key=lambda attempt: (-1.0 if attempt.scores is None else attempt.scores.mean, attempt.number),
            )
        elif self.is_surest_shown:
            last = max(made, key=lambda attempt: (attempt.success_probability, attempt.number))
        return replace(step, status=StepStatus.BEST_OF_TRIES, chosen=last.number)

    async def _scored(self, attempt: Attempt) -> Attempt:
        if attempt.image is None:
            return attempt
        assert self.judge is not None
        timer = StageTimer(fatal=())
        with timer.failing(), timer.at(Stage.JUDGE):
            look = ScoreRequest(attempt.before, attempt.image, attempt.instruction)
            attempt = replace(attempt, scores=await self.judge.score(look))
        return replace(attempt, failure=timer.failure)
