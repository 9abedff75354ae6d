"""Carry a request to its trajectory: plan, then each step's attempts, judged, criticised and, the first, measured.

With an expert the critic acts and the expert corrects it (DAgger, arXiv 1011.0686): what is taught is about the images
that the critic's own tries come to.

What a training set is built from. A failure is data here too: it ends its trajectory, with stage and kind.
"""

from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Annotated

from rollout.agents import ask_until_parsed
from rollout.concurrency import all_settled
from rollout.roles import Critic, Generator, Judge, Planner
from rollout.stages import StageTimer
from rollout.step_runner import Shown, StepRunner, Tried
from rollout.text.critique import CritiqueError, format_critique, parse_critique
from rollout.text.limits import NonNegativeInt, PositiveInt, Score, check_fields, one_of
from rollout.text.marks import IMAGE_MARK, special_tokens_in
from rollout.text.plan import PlanError, format_plan, parse_plan
from rollout.text.readers import Reading
from rollout.text.seeds import seed_of
from rollout.types import (
    Attempt,
    Critique,
    EditRequest,
    ImageRef,
    Plan,
    PlanStep,
    Request,
    ScoreRequest,
    Scores,
    Stage,
    Trajectory,
)


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
    """How far a request is carried, and what else is tried to learn how hard its steps are."""

    tries: PositiveInt = 3
    """Attempts at a step."""
    max_steps: PositiveInt = 16
    """A longer plan is not carried out."""
    on_failed_step: Annotated[str, one_of(*OnFailedStep)] = OnFailedStep.STOP
    """stop, or best: go on from the best try."""
    shown: Annotated[str, one_of(*Shown)] = Shown.INSTRUCTION
    """What critic and judge are shown as instruction, and records say: instruction, or prompt, the plan's own."""
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
    """Carries requests. Every outcome depends on the request's content and the seed, never on what else is carried."""

    planner: Planner
    critic: Critic
    generator: Generator
    judge: Judge
    rules: CollectConfig
    success: Success
    seed: int = 0
    expert: Critic | None = None
    """Says of each attempt what the critic should have said (`corrected`); what happens next is the critic's word."""

    async def __call__(self, request: Request) -> Trajectory:
        """Return the trajectory of a request, with what ended it if something did. Raises `BudgetSpent` alone."""
        trajectory = await self._planned(request)
        plan, before = trajectory.plan, request.images[-1] if request.images else None
        for step in () if plan is None or plan.is_text_only else plan.steps:
            num_earlier = len(trajectory.attempts)
            trajectory = await self._carried_out(trajectory, step, before)
            if trajectory.failure is not None:
                break
            if step.number in trajectory.accepted:
                before = trajectory.attempts[-1].after
            elif self.rules.on_failed_step == OnFailedStep.STOP:
                break
            else:
                before = max(trajectory.attempts[num_earlier:], key=lambda attempt: attempt.judged.mean).after
        return trajectory

    async def _planned(self, request: Request) -> Trajectory:
        timer = StageTimer()
        with timer.at(Stage.PLAN):
            ask, seed = partial(self.planner.plan, request), seed_of(self.seed, request.id, "plan")
            plan, (answer,) = await ask_until_parsed(ask, partial(self._read_plan, request), [seed], timer)
        return Trajectory(request, answer.text, plan, failure=timer.failure)

    def _read_plan(self, request: Request, text: str) -> Reading[Plan]:
        plan = parse_plan(text, request.mode)
        if len(plan.steps) > self.rules.max_steps:
            raise PlanError(
                "num_steps", f"{len(plan.steps)} steps, expected up to collect.max_steps={self.rules.max_steps}"
            )
        if IMAGE_MARK in format_plan(plan):
            raise PlanError("marks", f"the plan says {IMAGE_MARK}, which marks an image of a question")
        if special := special_tokens_in(format_plan(plan)):
            raise PlanError("special_token", f"the plan says {special[0]}, which models read as a control token")
        return Reading(plan)

    async def _carried_out(self, trajectory: Trajectory, step: PlanStep, before: ImageRef | None) -> Trajectory:
        """Return the trajectory with a step's attempts, up to the accepted one or to what failed."""
        runner = StepRunner(self.generator, self.critic, self.judge.score, read=_read_critique, shown=self.rules.shown)

        def seed(what: str, step_number: int, number: int, repeat: int = 0) -> int:
            return seed_of(self.seed, trajectory.request.id, what, step_number, number - 1)

        async with aclosing(runner.tries(step, before, (), self.rules.tries, seed)) as events:
            async for event in events:
                if isinstance(event, Tried):
                    trajectory = await self._with_attempt(trajectory, event.attempt)
                if trajectory.failure is not None:
                    break
        return trajectory

    async def _with_attempt(self, trajectory: Trajectory, attempt: Attempt) -> Trajectory:
        """Return the trajectory with an attempt, as far as it came: one that is judged is paid for, and kept."""
        failure, accepted = attempt.failure, trajectory.accepted
        if failure is None:
            timer = StageTimer()
            with timer.failing():
                attempt = await self._measured(trajectory, attempt, timer)
                attempt = await self._corrected(trajectory, attempt, timer)
            failure = timer.failure
        if attempt.scores is None:
            return replace(trajectory, failure=failure)
        if attempt.is_accepted and failure is None:
            accepted = {**accepted, attempt.step: len(trajectory.attempts)}
        return replace(trajectory, attempts=(*trajectory.attempts, attempt), accepted=accepted, failure=failure)

    async def _measured(self, trajectory: Trajectory, attempt: Attempt, timer: StageTimer) -> Attempt:
        """Return a failed attempt with what the same prompt and others come to."""
        rules = self.rules
        num_failed = sum(not self.success(earlier.judged) for earlier in trajectory.attempts)
        if self.success(attempt.judged) or num_failed >= rules.num_measured:
            return attempt

        def seed(what: str, *number: int) -> int:
            return seed_of(self.seed, trajectory.request.id, what, attempt.step, attempt.number - 1, *number)

        with timer.at(Stage.CRITIQUE):
            refined = await all_settled(
                self._refined(attempt, seed("refine", number), number + 1) for number in range(rules.num_refinements)
            )
        with timer.at(Stage.GENERATE):
            edits = [(attempt.prompt, seed("retry", number)) for number in range(rules.num_retries)]
            edits += [(prompt, seed("refine")) for prompt in refined if prompt]
            images = await all_settled(
                self.generator.edit(EditRequest(attempt.before, prompt, edit_seed)) for prompt, edit_seed in edits
            )
        with timer.at(Stage.JUDGE):
            scores: list[Scores] = await all_settled(
                self.judge.score(ScoreRequest(attempt.before, image, attempt.instruction)) for image in images
            )
        return replace(attempt, retried=tuple(scores[: rules.num_retries]), refined=tuple(scores[rules.num_retries :]))

    async def _corrected(self, trajectory: Trajectory, attempt: Attempt, timer: StageTimer) -> Attempt:
        if self.expert is None or attempt.critique is None:
            return attempt
        seed = seed_of(self.seed, trajectory.request.id, "expert", attempt.step, attempt.number - 1)
        with timer.at(Stage.CRITIQUE):
            said = _read_critique((await self.expert.criticise(attempt, seed)).text).what
        return replace(attempt, correction=corrected(attempt.critique, said, attempt.prompt))

    async def _refined(self, attempt: Attempt, seed: int, repeat: int) -> str:
        """Return a further prompt; none from an answer that is no critique."""
        answer = await self.critic.criticise(attempt, seed, repeat)
        try:
            return _read_critique(answer.text).what.refine_prompt
        except CritiqueError:
            return ""


def corrected(own: Critique, expert: Critique, prompt: str) -> Critique:
    """Return the expert's thought and verdict with the critic's own refined prompt, which RL made better than theirs.

    The expert's prompt is taken where the image is wrong and the critic's own is the one that made it.

    >>> corrected(Critique(True, "a scarlet dot"), Critique(False, "a red dot", "it is a square"), "a ruby dot")
    Critique(is_success=False, refine_prompt='a scarlet dot', thought='it is a square')
    """
    is_no_other = not expert.is_success and own.refine_prompt == prompt.strip()
    return expert if is_no_other else replace(expert, refine_prompt=own.refine_prompt)


def _read_critique(answer: str, own_prompt: str = "") -> Reading[Critique]:
    """Return the critique that an answer is. Raises `CritiqueError`, also for one that no record may hold."""
    critique = parse_critique(answer)
    if IMAGE_MARK in format_critique(critique):
        raise CritiqueError("marks", f"the critique says {IMAGE_MARK}, which marks an image of a question")
    if special := special_tokens_in(format_critique(critique)):
        raise CritiqueError("special_token", f"the critique says {special[0]}, which models read as a control token")
    return Reading(critique)
