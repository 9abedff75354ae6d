"""A step's attempts: the one core of stories, of building data and of training. What fails is a status.

    prompt ─▶ generator ─▶ image ─▶ judge ─▶ scores ─▶ critic ─▶ critique ─┬─▶ accepted
      ▲                    (where there is one)  (where there is one)      │
      └──────────────── a better prompt, a new seed ◀──────────────────────┘

A story streams the tries and judges none, building data judges and measures each, training carries out one whose
prompt the policy wrote.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from rollout.roles import BudgetSpent, Critic, Generator
from rollout.stages import StageTimer
from rollout.text.readers import CONTRACT, Reading
from rollout.types import Attempt, Critique, EditRequest, ImageRef, PlanStep, ScoreRequest, Scores, Stage
from rollout.verdict import ONE_ANSWER, VerdictRule, ask_for_verdict

SeedOf = Callable[..., int]
"""`seed("edit", step, number)` of a generation, `seed("critique", step, number, repeat)` of an answer to it."""


class Shown(StrEnum):
    """What an attempt is held to: what the critic is shown as its instruction, and the judge where there is one."""

    INSTRUCTION = "instruction"
    """The plan's instruction of the step."""
    PROMPT = "prompt"
    """The plan's prompt of the step, also when a later try is made from another one: as in the public system."""


@dataclass(frozen=True, slots=True)
class TryStarted:
    """An image of a step is being made."""

    step: PlanStep
    number: int
    """Which try, from 1."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A try has its image and its verdict, or its failure."""

    step: PlanStep
    attempt: Attempt


@dataclass(frozen=True)
class StepRunner:
    """Carries out attempts."""

    generator: Generator
    critic: Critic | None = None
    """None: the first image is taken as it is."""
    score: Callable[[ScoreRequest], Awaitable[Scores]] | None = None
    """The judge's (`rollout.roles.Judge.score`); None: no attempt is judged."""
    num_critiques: int = 1
    """How often the critic is asked before an answer that can be read is given up."""
    read: Callable[[str, str], Reading[Critique]] = CONTRACT.critique
    """Reads an answer to an attempt with a prompt (`rollout.text.readers`)."""
    shown: str = Shown.INSTRUCTION
    rule: VerdictRule = ONE_ANSWER
    fatal: tuple[type[Exception], ...] = (BudgetSpent,)
    """Errors that are no status: they end everything."""

    async def tries(
        self, step: PlanStep, before: ImageRef | None, references: tuple[ImageRef, ...], most: int, seed: SeedOf
    ) -> AsyncGenerator[TryStarted | Tried]:
        """Yield what happens until a try is accepted, at most so many of them. Closing it ends the work.

        A failed generation costs a try. Without a verdict on an image the tries end: there is nothing to learn
        from, and a further image would be as much of a guess.
        """
        assert step.instruction is not None
        assert step.prompt is not None
        prompt = step.prompt
        instruction = prompt if self.shown == Shown.PROMPT else step.instruction
        for number in range(1, most + 1):
            yield TryStarted(step, number)
            place = step.number, number
            attempt = Attempt(*place, instruction, prompt, seed("edit", *place), before, references)
            seeds = [seed("critique", *place, repeat) for repeat in range(self.num_critiques)]
            attempt = await self.carry_out(attempt, seeds)
            yield Tried(step, attempt)
            if attempt.critique is not None:
                prompt = attempt.critique.refine_prompt
            if attempt.is_accepted or (attempt.image is not None and attempt.critique is None):
                return

    async def carry_out(self, attempt: Attempt, critique_seeds: Iterable[int] = ()) -> Attempt:
        """Return an attempt with its image, its scores and its critique, as far as it came. Raises what is fatal."""
        timer = StageTimer(self.fatal)
        with timer.failing():
            with timer.at(Stage.GENERATE):
                edit = EditRequest(attempt.before, attempt.prompt, attempt.seed, attempt.references)
                attempt = replace(attempt, image=await self.generator.edit(edit))
            if self.score is not None:
                with timer.at(Stage.JUDGE):
                    look = ScoreRequest(attempt.before, attempt.after, attempt.instruction)
                    attempt = replace(attempt, scores=await self.score(look))
            if self.critic is not None:
                with timer.at(Stage.CRITIQUE):
                    ask = partial(self.critic.criticise, attempt)
                    verdict = await ask_for_verdict(
                        ask, lambda text: self.read(text, attempt.prompt), critique_seeds, timer, self.rule
                    )
                    attempt = replace(
                        attempt,
                        critique=verdict.critique,
                        answers=verdict.answers,
                        success_probability=verdict.success_probability,
                    )
        return replace(attempt, failure=timer.failure, seconds=timer.seconds)
