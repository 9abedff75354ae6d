"""Where an attempt is, and how long each stage took. Here, and nowhere else, an exception becomes a status."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rollout.roles import BudgetSpent, EvidenceError, Unsupported
from rollout.text.foreign import error_text
from rollout.text.marks import without_objects
from rollout.text.strict_json import AnswerError
from rollout.types import Failure, Stage

MOST_CHARS = 500
"""Of an error in a record."""


class StageTimer:
    """Times stages; `failure` says at which one something ended, and why."""

    def __init__(self, fatal: tuple[type[Exception], ...] = (BudgetSpent,)):
        """`fatal` errors end more than what is timed: they are raised as they are."""
        self.fatal = fatal
        self.stage = Stage.SAMPLE
        self.seconds: dict[str, float] = {}
        self.failure: Failure | None = None

    @contextmanager
    def at(self, stage: Stage) -> Iterator[None]:
        """Time a stage."""
        self.stage, start = stage, time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage.value] = time.monotonic() - start

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Turn what is raised inside into `failure`; what follows the block goes on."""
        self.failure = None
        try:
            yield
        except self.fatal:
            raise
        except Exception as error:
            self.failure = failure_of(self.stage, error)


def failure_of(stage: Stage, error: Exception) -> Failure:
    """Return the status that an exception at a stage is."""
    if isinstance(error, AnswerError):
        return Failure(stage, error_text(error)[:MOST_CHARS], error.kind, is_final=True)
    if isinstance(error, Unsupported):
        return Failure(stage, error_text(error)[:MOST_CHARS], "unsupported", is_final=True)
    return Failure(Stage.EVIDENCE if isinstance(error, EvidenceError) else stage, describe(error))


def describe(error: Exception) -> str:
    """Return an error as one line of a record."""
    return f"{type(error).__name__}: {' '.join(without_objects(error_text(error)).split())}"[:MOST_CHARS]
