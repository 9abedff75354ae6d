"""How a run ends that does not come to its end: by one line for its user, or by a traceback for us."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from rollout.roles import RunStopped

Outcome = TypeVar("Outcome")


def run_to_end(work: Coroutine[object, object, Outcome]) -> Outcome:
    """Run what was checked before. Raises `RunStopped` for what ends a run in good order, `BudgetSpent` among others.

    Any other ValueError or OSError is not the user's input any more: it becomes a RuntimeError.
    """
    from data.errors import RecordError
    from rl.sft.examples import UnusableRecord

    try:
        return asyncio.run(work)
    except (RecordError, UnusableRecord) as error:
        raise RunStopped(str(error)) from error
    except (ValueError, OSError) as error:
        raise RuntimeError("the run broke") from error
