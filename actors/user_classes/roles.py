"""The interfaces of your own classes, and what they are given: pictures and texts, nothing of the framework.

A class is made with the recipe's `options` as keyword arguments, when the recipe is checked and again in every process
that uses it, so making it has to be cheap. What is not (weights, connections) belongs in `load()`, which is called
once, before the first request, in the process that uses the object. Methods may be `async`; others run in threads.
An exception fails the attempt: there are `num_attempts` in all, but none after a ValueError or TypeError.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from PIL import Image

from rollout.text.plan import Plan
from rollout.types import Critique, Scores


@dataclass(frozen=True)
class Look:
    """One picture, with what it was meant to become."""

    before: Image.Image | None
    """None: it was made from text alone."""
    after: Image.Image
    instruction: str


@dataclass(frozen=True)
class TwoLooks:
    """Two attempts at the same edit."""

    before: Image.Image | None
    old: Image.Image
    new: Image.Image
    instruction: str


@dataclass(frozen=True)
class Edit:
    """One picture to be made."""

    images: Sequence[Image.Image]
    """The one to edit, then references; empty: make it from text alone."""
    prompt: str
    seed: int
    mask: Image.Image | None = None
    """White: paint here."""
    size: tuple[int, int] | None = None
    """Requested width and height."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this request only."""


@dataclass(frozen=True)
class PlanQuestion:
    """A user's request, to be planned."""

    text: str
    images: Sequence[Image.Image]


@dataclass(frozen=True)
class CritiqueQuestion:
    """An attempt at a step, to be criticised."""

    before: Image.Image | None
    after: Image.Image
    instruction: str
    """What the step has to show."""
    prompt: str
    """The generator's prompt."""


class UserJudge(Protocol):
    """`judge.kind`. It may also have `compare(looks: TwoLooks) -> tuple[Scores, Scores]`: of old and new."""

    def score(self, look: Look) -> Scores | Awaitable[Scores]:
        """Return scores from 0 to 10, equal for equal looks."""
        ...


class UserGenerator(Protocol):
    """`generator.kind`."""

    def edit(self, edit: Edit) -> Image.Image | Awaitable[Image.Image]:
        """Return the new picture, equal for equal edits."""
        ...


class UserObserver(Protocol):
    """`evidence.NAME.kind`."""

    def observe(self, look: Look) -> object:
        """Return what a reward reads as `evidence.extra[NAME]`: anything that JSON can hold."""
        ...


class UserTeacher(Protocol):
    """In a recipe that builds data: `planner.kind` needs `plan`, `critic.kind` needs `criticise`."""

    def plan(self, question: PlanQuestion, seed: int) -> str | Plan | Awaitable[str | Plan]:
        """Return a plan, or its text."""
        ...

    def criticise(self, question: CritiqueQuestion, seed: int) -> str | Critique | Awaitable[str | Critique]:
        """Return a critique, or its text; the seed tells independent ones apart."""
        ...
