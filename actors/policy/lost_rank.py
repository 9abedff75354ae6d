"""A rank that dies takes the others along: they wait for it in a collective, and the run ends by one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayActorError, RayTaskError

from actors.losses.lost import ComponentLost
from rollout.roles import OwnCodeError

A_RANK = "a rank of the policy"
"""How a line about one begins, until it is known which."""
_DETAIL, _GUESSES = "Worker exit detail: ", "Some common causes include"
"""In what Ray says of a process that is gone: what it knows comes after the first and before the second."""
_CUT_OFF = "connection error code"
"""All that Ray knows of a process that ended without a word to it."""


class RankLost(ComponentLost):
    """A rank of the policy died or hung; what was learned since the last checkpoint is lost with it."""


@contextmanager
def telling_lost_rank(method: str) -> Iterator[None]:
    """Turn the death of a rank in a call of all of them into `RankLost`; what a rank tells the user passes as it is."""
    try:
        yield
    except RayTaskError as error:  # a living rank tells of something, or of somebody: a sampler that weights went to
        if isinstance(error.cause, OwnCodeError):
            raise OwnCodeError(str(error.cause)) from None
        raise
    except RayActorError as error:
        raise RankLost(f"{A_RANK} died in {method}: {_why(str(error))}") from error


def _why(told: str) -> str:
    """Return what Ray knows of a death, without what it guesses, in one line."""
    detail = " ".join(told.split()).rpartition(_DETAIL)[2].partition(_GUESSES)[0].strip()
    return "its process crashed, or was killed from outside" if _CUT_OFF in detail else detail[:300]
