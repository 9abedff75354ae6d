"""Walk a request to its trajectory: plan, then generate, judge, criticise and refine, up to a budget of tries.

What a training set is built from. A failure is data here too: it ends its trajectory, with stage and kind.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Protocol

from rollout.attempt import Ended, Progress
from rollout.concurrency import all_settled
from rollout.critic import CritiqueError, format_critique, parse_critique
from rollout.plan import PlanError, PlanStep, format_plan, parse_plan
from rollout.roles import Generator, Judge
from rollout.seeds import seed_of
from rollout.text.limits import NonNegativeInt, PositiveInt, Score, check_fields, one_of
from rollout.text.marks import IMAGE_MARK, special_tokens_in
from rollout.trajectory import Attempt, Request, Trajectory
from rollout.types import Critique, EditRequest, ImageRef, ScoreRequest, Scores, Stage


class PlanTeacher(Protocol):
    """Whoever plans: a model behind an endpoint, or a function."""

    async def plan(self, request: Request, seed: int) -> str:
        """Return the answer, a plan by the contract or not. Raises `TeacherError`."""
        ...


class CriticTeacher(Protocol):
    """Whoever criticises."""

    async def criticise(self, attempt: Attempt, seed: int, repeat: int = 0) -> str:
        """Return the answer; `repeat` names one of several independent ones. Raises `TeacherError`."""
        ...


class TeacherError(RuntimeError):
    """A teacher gave no answer, after its retries."""


class OnFailedStep(StrEnum):
    """What follows a step that was not accepted within its tries."""

    STOP = "stop"
    """The trajectory ends: later steps would edit a wrong image."""
    BEST = "best"
    """The next step goes on from the try that the judge liked best."""


@dataclass(frozen=True)
class Success:
    """When a step succeeded, by the judge's scores of 10."""

    semantics: Score = 7.0
    quality: Score = 7.0

    def __post_init__(self) -> None:
        check_fields(self, "success")

    def __call__(self, scores: Scores) -> bool:
        return scores.semantics >= self.semantics and scores.quality >= self.quality


@dataclass(frozen=True)
class CollectConfig:
    """How far a request is carried, and what is tried beside its way to learn how hard it is."""

    tries: PositiveInt = 3
    """Attempts at a step."""
    max_steps: PositiveInt = 16
    """A longer plan is not carried out."""
    on_failed_step: Annotated[str, one_of(*OnFailedStep)] = OnFailedStep.STOP
    """stop, or best: go on from the best try."""
    num_measured: NonNegativeInt = 0
    """Failed attempts of a trajectory, its first ones, whose difficulty is measured."""
    num_retries: NonNegativeInt = 0
    """Measure: the same prompt with so many new seeds."""
    num_refinements: NonNegativeInt = 0
    """Measure: so many independent prompts of the critic's, with one seed in common."""

    def __post_init__(self) -> None:
        check_fields(self, "collect")


@dataclass(frozen=True)
class TrajectoryCollector:
    """Carries requests. Every outcome depends on the request's content and the seed, never on what else is walked."""

    planner: PlanTeacher
    critic: CriticTeacher
    generator: Generator
    judge: Judge
    rules: CollectConfig
    success: Success
    seed: int = 0

    async def __call__(self, request: Request) -> Trajectory:
        """Return the trajectory of a request, with what ended it if something did. Raises `BudgetSpent` alone."""
        journey = _Journey(Trajectory(request))
        with suppress(Ended):
            async with journey.at(Stage.PLAN):
                await self._plan(journey)
            plan = journey.trajectory.plan
            assert plan is not None
            before = request.images[-1] if request.images else None
            for step in () if plan.is_text_only else plan.steps:
                accepted = await self._carry_out(step, before, journey)
                if accepted is None:
                    break
                before = accepted
        return replace(journey.trajectory, failure=journey.failure)

    async def _plan(self, journey: _Journey) -> None:
        request = journey.trajectory.request
        text = await self.planner.plan(request, self._seed(request, "plan"))
        journey.trajectory = replace(journey.trajectory, plan_text=text)
        plan = parse_plan(text, request.mode)
        if len(plan.steps) > self.rules.max_steps:
            raise PlanError(
                "num_steps", f"{len(plan.steps)} steps, expected up to collect.max_steps={self.rules.max_steps}"
            )
        if IMAGE_MARK in format_plan(plan):
            raise PlanError("marks", f"the plan says {IMAGE_MARK}, which marks an image of a question")
        if special := special_tokens_in(format_plan(plan)):
            raise PlanError("special_token", f"the plan says {special[0]}, which models read as a control token")
        journey.trajectory = replace(journey.trajectory, plan=plan)

    async def _carry_out(self, step: PlanStep, before: ImageRef | None, journey: _Journey) -> ImageRef | None:
        """Try a step; return the image to go on from, or None where the trajectory ends."""
        assert step.instruction is not None
        assert step.prompt is not None
        prompt, tried = step.prompt, []
        for index in range(self.rules.tries):
            seed = self._seed(journey.trajectory.request, "edit", step.number, index)
            async with journey.at(Stage.GENERATE):
                after = await self.generator.edit(EditRequest(before, prompt, seed))
            async with journey.at(Stage.JUDGE):
                scores = await self._score(before, after, step.instruction)
            attempt = Attempt(step.number, index, step.instruction, prompt, seed, before, after, scores)
            attempt = await self._criticised(attempt, journey)
            try:
                attempt = await self._measured(attempt, journey)
            except Ended:
                journey.add(attempt, is_accepted=False)  # as far as it came: it is judged, criticised and paid for
                raise
            assert attempt.critique is not None
            journey.add(attempt, is_accepted=attempt.critique.is_success)
            if attempt.critique.is_success:
                return after
            tried.append(attempt)
            prompt = attempt.critique.refine_prompt
        if self.rules.on_failed_step == OnFailedStep.STOP:
            return None
        return max(tried, key=lambda attempt: attempt.scores.mean).after

    async def _criticised(self, attempt: Attempt, journey: _Journey) -> Attempt:
        request = journey.trajectory.request
        seed = self._seed(request, "critique", attempt.step, attempt.index)
        try:
            async with journey.at(Stage.CRITIQUE):
                answer = await self.critic.criticise(attempt, seed)
                attempt = replace(attempt, answer=answer)
                return replace(attempt, critique=_read_critique(answer))
        except Ended:
            journey.add(attempt, is_accepted=False)  # judged it is, and paid for
            raise

    async def _measured(self, attempt: Attempt, journey: _Journey) -> Attempt:
        """Return a failed attempt with what the same prompt and others come to."""
        rules, so_far = self.rules, journey.trajectory
        num_failed = sum(not self.success(earlier.scores) for earlier in so_far.attempts)
        if self.success(attempt.scores) or num_failed >= rules.num_measured:
            return attempt
        place = (attempt.step, attempt.index)
        seeds = [self._seed(so_far.request, "retry", *place, number) for number in range(rules.num_retries)]
        seed = self._seed(so_far.request, "refine", *place)
        async with journey.at(Stage.CRITIQUE):
            refined = await all_settled(
                self._refined(attempt, self._seed(so_far.request, "refine", *place, number), number + 1)
                for number in range(rules.num_refinements)
            )
            prompts = [prompt for prompt in refined if prompt]
        async with journey.at(Stage.GENERATE):
            edits = [(attempt.prompt, retry_seed) for retry_seed in seeds] + [(prompt, seed) for prompt in prompts]
            images = await all_settled(
                self.generator.edit(EditRequest(attempt.before, prompt, edit_seed)) for prompt, edit_seed in edits
            )
        async with journey.at(Stage.JUDGE):
            scores = await all_settled(self._score(attempt.before, image, attempt.instruction) for image in images)
        return replace(attempt, retried=tuple(scores[: len(seeds)]), refined=tuple(scores[len(seeds) :]))

    async def _refined(self, attempt: Attempt, seed: int, repeat: int) -> str:
        """Return a further prompt; none from an answer that is no critique."""
        answer = await self.critic.criticise(attempt, seed, repeat)
        try:
            return _read_critique(answer).refine_prompt
        except CritiqueError:
            return ""

    async def _score(self, before: ImageRef | None, after: ImageRef, instruction: str) -> Scores:
        return await self.judge.score(ScoreRequest(before, after, instruction))

    def _seed(self, request: Request, *what: object) -> int:
        return seed_of(self.seed, request.id, *what)


def _read_critique(answer: str) -> Critique:
    """Return the critique that an answer is. Raises `CritiqueError`, also for one that no record may hold."""
    critique = parse_critique(answer)
    if IMAGE_MARK in format_critique(critique):
        raise CritiqueError("marks", f"the critique says {IMAGE_MARK}, which marks an image of a question")
    if special := special_tokens_in(format_critique(critique)):
        raise CritiqueError("special_token", f"the critique says {special[0]}, which models read as a control token")
    return critique


class _Journey(Progress):
    """A trajectory on its way."""

    def __init__(self, trajectory: Trajectory):
        super().__init__()
        self.trajectory = trajectory

    def add(self, attempt: Attempt, *, is_accepted: bool) -> None:
        so_far = self.trajectory
        accepted = {**so_far.accepted, attempt.step: len(so_far.attempts)} if is_accepted else so_far.accepted
        self.trajectory = replace(so_far, attempts=(*so_far.attempts, attempt), accepted=accepted)
