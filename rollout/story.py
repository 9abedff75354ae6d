"""A story as plain data: a request, its plan, and what became of each step, with everything that was tried."""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from rollout.step_runner import Tried, TryStarted
from rollout.types import Attempt, ImageRef, ModelAnswer, Plan, PlanStep, Request

DEFAULT_TRIES = 5
"""Most tries of a step (arXiv 2606.13679)."""


class StepStatus(StrEnum):
    """What became of a step."""

    ACCEPTED = "accepted"
    """The critic accepted the last try."""
    BEST_OF_TRIES = "best_of_tries"
    """No try was accepted; the step shows the best one."""
    UNJUDGED = "unjudged"
    """Nobody judged the image: there is no critic, or none of its answers could be had or read."""
    TEXT = "text"
    """The plan has no image here."""
    FAILED = "failed"
    """The generator made no image in any try."""
    SKIPPED = "skipped"
    """An earlier step failed, so that there is nothing to go on from."""


@dataclass(frozen=True, slots=True)
class StoryStep:
    """One step of the plan, carried out."""

    plan: PlanStep
    status: StepStatus
    before: ImageRef | None = None
    """The image that was edited; None: text-to-image, or a text alone."""
    references: tuple[ImageRef, ...] = ()
    tries: tuple[Attempt, ...] = ()
    chosen: int | None = None
    """Number of the try that the step shows."""

    @property
    def image(self) -> ImageRef | None:
        """The image that the step shows."""
        return None if self.chosen is None else self.tries[self.chosen - 1].image


class StoryStatus(StrEnum):
    """What became of a request."""

    TELLING = "telling"
    """It is under way, or was interrupted."""
    DONE = "done"
    UNPLANNED = "unplanned"
    """None of the planner's answers could be had or read."""
    INCOMPLETE = "incomplete"
    """A step failed; what was made before it is there."""


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that was made of a request."""

    request: Request
    status: StoryStatus
    plan: Plan | None = None
    plan_answers: tuple[ModelAnswer, ...] = ()
    """Every answer of the planner, the unreadable ones too."""
    steps: tuple[StoryStep, ...] = ()
    error: str | None = None
    """Why the story is unplanned or incomplete."""

    @property
    def leniencies(self) -> Counter[str]:
        """How many of its answers differ from the contract in which way, of those that were read all the same."""
        answers = [*self.plan_answers, *(a for step in self.steps for one in step.tries for a in one.answers)]
        return Counter(name.value for answer in answers for name in answer.leniencies)


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan is there."""

    story: Story


@dataclass(frozen=True, slots=True)
class StepTold:
    """A step is done."""

    step: StoryStep
    story: Story
    """As far as it is told."""


@dataclass(frozen=True, slots=True)
class StoryTold:
    """The story is over; always the last event, however it went."""

    story: Story


StoryEvent = Planned | TryStarted | Tried | StepTold | StoryTold
