"""A rank that dies takes the others along: they wait for it in a collective, and the run ends by one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import RayActorError, RayTaskError

from actors.losses.lost import ComponentLost


class RankLost(ComponentLost):
    """A rank of the policy died or hung; what was learned since the last checkpoint is lost with it."""


@contextmanager
def telling_lost_rank(method: str) -> Iterator[None]:
    """Turn the death of a rank in a call of all of them into `RankLost`."""
    try:
        yield
    except RayActorError as error:
        if isinstance(error, RayTaskError):  # a living rank tells of somebody else: a sampler that weights went to
            raise
        why = " ".join(str(error).split())[-300:]
        raise RankLost(f"a rank of the policy died in {method}: {why}") from error
