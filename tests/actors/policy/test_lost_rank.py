"""A rank that dies ends the run by one line that says in what, and how it goes on."""

import pytest
from ray.exceptions import RayActorError, RayTaskError

from actors.policy.lost_rank import RankLost, telling_lost_rank


def test_a_dead_rank_is_one_line():
    told = r"^a rank of the policy died in update: .*The actor died unexpectedly$"
    with pytest.raises(RankLost, match=told) as caught, telling_lost_rank("update"):
        raise RayActorError(error_msg="The actor died\nunexpectedly")
    assert "\n" not in str(caught.value)


def test_a_sampler_that_a_living_rank_has_lost_is_no_lost_rank():
    lost = RayTaskError("push_weights", "traceback", RayActorError()).as_instanceof_cause()
    assert isinstance(lost, RayActorError)
    with pytest.raises(RayActorError), telling_lost_rank("push_weights"):
        raise lost


def test_what_a_living_rank_raises_passes():
    with pytest.raises(ValueError, match="too long"), telling_lost_rank("update"):
        raise ValueError("too long")
