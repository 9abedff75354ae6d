"""One rule for what fails on the way, and for what takes how long: of samples, stories and trajectories alike."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rollout.critic import CritiqueError
from rollout.plan import PlanError
from rollout.retry_parse import describe
from rollout.roles import BudgetSpent, EvidenceError, Unsupported
from rollout.types import Failure, Stage

MAX_ERROR = 500


class Ended(Exception):
    """What was under way is over; its failure is noted."""


class Progress:
    """How long each stage took, and what ended it all, if something did."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.failure: Failure | None = None

    @asynccontextmanager
    async def at(self, stage: Stage) -> AsyncIterator[None]:
        """Time a stage; note what is raised in it and raise `Ended`. A spent budget and cancellation pass."""
        start = time.monotonic()
        try:
            yield
        except (BudgetSpent, Ended):
            raise
        except Exception as error:
            self.failure = failure_of(stage, error)
            raise Ended from error
        finally:
            self.seconds[stage.value] = self.seconds.get(stage.value, 0.0) + time.monotonic() - start


def failure_of(stage: Stage, error: Exception) -> Failure:
    """Return what an exception in a stage comes to."""
    if isinstance(error, PlanError | CritiqueError):
        return Failure(stage, str(error)[:MAX_ERROR], error.kind, is_final=True)
    if isinstance(error, Unsupported):
        return Failure(stage, str(error)[:MAX_ERROR], "unsupported", is_final=True)
    return Failure(Stage.EVIDENCE if isinstance(error, EvidenceError) else stage, describe(error))
