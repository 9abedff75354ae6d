"""One question to a vision-language judge: text with images in, one answer of a stated form out."""

from dataclasses import dataclass
from typing import Protocol

from rollout.types import ImageRef

TEXT = "text"
"""The form of an answer that is kept verbatim, for the caller to parse."""


@dataclass(frozen=True, slots=True)
class Question:
    """A rendered text with an `<image>` mark for each image, in order."""

    text: str
    images: tuple[ImageRef, ...]
    form: str = "rubric"
    """How the answer is read: a name in `rewards.judging.rubric.FORMS`, or `TEXT`."""
    size: int = 2
    """How many values the answer has to hold."""
    repeat: int = 0
    """Which of several independent answers to the same question; part of the cache key."""
    system: str = ""
    """A system message before the question; empty: none."""


class Asker(Protocol):
    """Gets each distinct question answered once, no matter how often it is asked."""

    async def ask(self, question: Question) -> dict[str, object]:
        """Return the answer as its form reads it, JSON-able. Raises `CallError` or `BudgetSpent`."""
        ...

    async def stats(self) -> dict[str, float]:
        """Return the bill since the run's start, keyed `judge/...`."""
        ...
