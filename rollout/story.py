"""A story as plain data: a request, its plan, and what became of each step, with everything that was tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rollout.plan import Mode, Plan, PlanStep
from rollout.retry_parse import ModelAnswer
from rollout.text.marks import is_unicode, special_tokens_in
from rollout.types import Critique, ImageRef, Scores

DEFAULT_TRIES = 5
"""Most tries of a step (arXiv 2606.13679)."""


@dataclass(frozen=True, slots=True)
class StoryRequest:
    """What a user asks for. Equal requests are told alike, as far as the models are deterministic."""

    text: str
    images: tuple[ImageRef, ...] = ()
    """Images that the request goes on from; none: a narrative."""
    seed: int = 0
    tries: int = 0
    """Most tries of a step; 0: as the storyline is set."""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("the request is empty; say what the story is about")
        if not is_unicode(self.text):
            raise ValueError("the request holds half a character (a lone surrogate), which no model reads")
        if special := special_tokens_in(self.text):
            raise ValueError(f"the request holds {special[0]}, which models read as a control token; leave it out")
        if self.tries < 0:
            raise ValueError(f"tries is {self.tries}; expected 1 or more, or 0 for the recipe's number")

    @property
    def mode(self) -> Mode:
        return Mode.GUIDANCE if self.images else Mode.NARRATIVE


@dataclass(frozen=True, slots=True)
class Try:
    """One image of a step, and what the critic thought of it."""

    number: int
    """From 1."""
    prompt: str
    seed: int
    image: ImageRef | None = None
    """None: the generator failed (`error`)."""
    critique: Critique | None = None
    answers: tuple[ModelAnswer, ...] = ()
    """Every answer of the critic, the unreadable ones too."""
    scores: Scores | None = None
    """The judge's, where it was asked to choose between tries."""
    error: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time by who took it: generator, critic."""

    @property
    def is_accepted(self) -> bool:
        return self.critique is not None and self.critique.is_success


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
    tries: tuple[Try, ...] = ()
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

    request: StoryRequest
    status: StoryStatus
    plan: Plan | None = None
    plan_answers: tuple[ModelAnswer, ...] = ()
    """Every answer of the planner, the unreadable ones too."""
    steps: tuple[StoryStep, ...] = ()
    error: str | None = None
    """Why the story is unplanned or incomplete."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan is there."""

    story: Story


@dataclass(frozen=True, slots=True)
class TryStarted:
    """An image of a step is being made."""

    step: PlanStep
    number: int
    """Which try, from 1."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A try has its image and its verdict."""

    step: PlanStep
    attempt: Try


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
