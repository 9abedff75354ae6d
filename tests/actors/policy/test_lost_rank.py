"""A rank that dies ends the run by one line that says in what, and how it goes on."""

import pytest
from ray.exceptions import RayActorError, RayTaskError

from actors.policy.lost_rank import RankLost, telling_lost_rank
from rollout.roles import OwnCodeError


def test_a_dead_rank_is_one_line():
    told = r"^a rank of the policy died in update: .*The actor died unexpectedly$"
    with pytest.raises(RankLost, match=told) as caught, telling_lost_rank("update"):
        raise RayActorError(error_msg="The actor died\nunexpectedly")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("detail", "why"),
    [
        (
            "Worker unexpectedly exits with a connection error code 2. End of file.",
            "its process crashed, or was killed from outside",
        ),
        (
            "Task was killed due to the node running low on memory.",
            "Task was killed due to the node running low on memory.",
        ),
    ],
)
def test_what_ray_knows_is_told_and_not_what_it_guesses(detail, why):
    error = RayActorError(
        error_msg="The actor died unexpectedly before finishing this task.\n\tclass_name: PolicyWorker\n\tpid: 7\nThe "
        "actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        f"{detail} Some common causes include: (1) the process was killed by the OOM killer due to high memory, ..."
    )
    with pytest.raises(RankLost) as caught, telling_lost_rank("update"):
        raise error
    assert str(caught.value) == f"a rank of the policy died in update: {why}"


def test_a_sampler_that_a_living_rank_has_lost_is_no_lost_rank():
    lost = RayTaskError("push_weights", "traceback", RayActorError()).as_instanceof_cause()
    assert isinstance(lost, RayActorError)
    with pytest.raises(RayActorError), telling_lost_rank("push_weights"):
        raise lost


def test_what_a_rank_tells_of_the_users_code_is_one_line():
    rank = RayTaskError("update", "a traceback", OwnCodeError("mine raised KeyError: 'a' (mine.py:3)"))
    with pytest.raises(OwnCodeError) as caught, telling_lost_rank("update"):
        raise rank.as_instanceof_cause()
    assert str(caught.value) == "mine raised KeyError: 'a' (mine.py:3)"
    assert not isinstance(caught.value, RayTaskError)


def test_what_a_living_rank_raises_passes():
    with pytest.raises(ValueError, match="too long"), telling_lost_rank("update"):
        raise ValueError("too long")
