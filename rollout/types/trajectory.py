"""A request, each attempt at a step of its plan, and the trajectory that they make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rollout.text.critique import Critique
from rollout.text.loose_json import Leniency
from rollout.text.marks import is_unicode, special_tokens_in
from rollout.text.plan import Mode, Plan
from rollout.types.sample import Failure, ImageRef, Scores


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for. Equal requests are carried out alike, as far as the models are deterministic."""

    text: str
    images: tuple[ImageRef, ...] = ()
    """Images that the request goes on from; none: a narrative."""
    seed: int = 0
    """Of a story; data is built by its recipe's seed."""
    tries: int = 0
    """Most tries of a step; 0: as the recipe says."""
    id: str = ""
    """Its name among the requests that data is built from."""

    @property
    def mode(self) -> Mode:
        return Mode.GUIDANCE if self.images else Mode.NARRATIVE

    def checked(self) -> Request:
        """Return the request. Raises ValueError where no story can be told of it."""
        if not self.text.strip():
            raise ValueError("the request is empty; say what the story is about")
        if not is_unicode(self.text):
            raise ValueError("the request holds half a character (a lone surrogate), which no model reads")
        if special := special_tokens_in(self.text):
            raise ValueError(f"the request holds {special[0]}, which models read as a control token; leave it out")
        if self.tries < 0:
            raise ValueError(f"tries is {self.tries}; expected 1 or more, or 0 for the recipe's number")
        return self


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What the planner or the critic said, word for word, read or not."""

    seed: int
    text: str
    error: str | None = None
    """Why it could not be had or read; None: it was read."""
    is_truncated: bool = False
    """It hit the length limit."""
    success_probability: float | None = None
    """Of a critic's verdict (`rollout.verdict`), where it is looked for."""
    leniencies: tuple[Leniency, ...] = ()
    """In what it differs from the contract, of an answer that was read all the same (`rollout.text.readers`)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a step: the prompt, the image it made, and what critic and judge said of it."""

    step: int
    """The step's number in the plan."""
    number: int
    """Which try at the step, from 1."""
    instruction: str
    """What the step has to show."""
    prompt: str
    """What the generator was told."""
    seed: int
    """Of the generation."""
    before: ImageRef | None = None
    """The image that was edited; None: text-to-image."""
    references: tuple[ImageRef, ...] = ()
    image: ImageRef | None = None
    """None: the generator failed."""
    scores: Scores | None = None
    """The judge's, where it was asked."""
    answers: tuple[ModelAnswer, ...] = ()
    """Every answer of the critic, the unreadable ones too."""
    critique: Critique | None = None
    success_probability: float = 0.0
    """How sure the critic is that the image is right (`rollout.verdict`); 0 where that was not looked for."""
    correction: Critique | None = None
    """What an expert would have said of it, where one was asked."""
    failure: Failure | None = None
    """What ended the attempt, or kept the judge from scoring it."""
    seconds: Mapping[str, float] = field(default_factory=dict, compare=False)
    """Wall time by stage."""
    retried: tuple[Scores, ...] = ()
    """Scores of the same prompt with other seeds: how hard the step is."""
    refined: tuple[Scores, ...] = ()
    """Scores of further prompts of the critic's, all with one seed."""

    @property
    def is_accepted(self) -> bool:
        return self.critique is not None and self.critique.is_success

    @property
    def lesson(self) -> Critique | None:
        """What SFT teaches about it: the expert's correction, else the critic's own answer."""
        return self.correction or self.critique

    @property
    def after(self) -> ImageRef:
        """The image, of an attempt that has one."""
        assert self.image is not None
        return self.image

    @property
    def judged(self) -> Scores:
        """The scores, of an attempt that has some."""
        assert self.scores is not None
        return self.scores


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A request carried as far as it went."""

    request: Request
    plan_text: str = ""
    """What the planner said, word for word."""
    plan: Plan | None = None
    attempts: tuple[Attempt, ...] = ()
    """Those that were judged, in the order of steps and tries; of an imported trajectory all, and none is judged."""
    accepted: Mapping[int, int] = field(default_factory=dict)
    """Step number -> place in `attempts` of the try that the critic accepted."""
    failure: Failure | None = None
    """Why it ended before its plan did."""

    @property
    def is_complete(self) -> bool:
        """Every step that makes an image was accepted; a plan of texts alone is complete as it is."""
        if self.plan is None or self.failure is not None:
            return False
        return all(step.is_text_only or step.number in self.accepted for step in self.plan.steps)
