"""A job that lost a part of it ends by one line: who, why, where the stacks are, what is saved."""

import asyncio
import threading

import pytest

from actors import ending
from actors.losses.head_watch import HeadWatch, Part
from actors.losses.loss_ending import STACKS, RayLost, ended_by_loss
from actors.losses.lost import ComponentLost
from rollout.roles import RunStopped


class Head:
    """A head that lives until it is told otherwise."""

    def __init__(self, every_s=0.005):
        self.every_s = every_s
        self.is_gone = threading.Event()
        self.part = Part("Ray's head (process 7)", "", died=lambda: "died" if self.is_gone.is_set() else "")

    def watch(self, parts, on_lost):
        return HeadWatch(parts, on_lost, ask=lambda address: True, every_s=self.every_s)


@pytest.fixture(autouse=True)
def _own_last_words(monkeypatch):
    monkeypatch.setattr(ending, "last_words", "")


def run(head, work, logs=None):
    """Return what ends a job that does some work, and the codes that the process was told to end with."""
    codes = []

    async def job():
        saved = "; step 7 is saved".__str__
        async with ended_by_loss([head.part], logs=logs, saved=saved, end=codes.append, make_watch=head.watch):
            await work()

    with pytest.raises(RunStopped) as caught:
        asyncio.run(job())
    return caught.value, codes


def test_a_lost_head_ends_what_waits_for_it_by_a_line_and_the_stacks_are_kept(tmp_path):
    head = Head()

    async def wait_for_an_actor():
        head.is_gone.set()
        await asyncio.Event().wait()

    error, codes = run(head, wait_for_an_actor, tmp_path / "logs")
    assert isinstance(error, RayLost)
    assert str(error) == (
        f"Ray's head (process 7) died; who waits for whom is in {tmp_path / 'logs' / STACKS}; step 7 is saved"
    )
    assert codes == [1]
    assert ending.last_words == f"interleave: the run stopped: {error}", "should the process have to be ended by force"
    assert "wait_for_an_actor" in (tmp_path / "logs" / STACKS).read_text()


def test_an_error_that_comes_of_a_lost_head_is_told_as_its_loss():
    head = Head(every_s=60.0)

    async def fail():
        head.is_gone.set()
        raise ComponentLost("a rank of the policy died in update")

    error, codes = run(head, fail)
    assert (str(error), codes) == ("Ray's head (process 7) died; step 7 is saved", [1])
    assert "rank of the policy" in str(error.__cause__)


def test_what_ends_anyway_keeps_its_own_line(monkeypatch):
    head = Head(every_s=60.0)

    async def leave():
        monkeypatch.setattr(ending, "is_begun", lambda: True)
        head.is_gone.set()
        raise RunStopped("preempted; step 7 is saved")

    error, codes = run(head, leave)
    assert (str(error), codes) == ("preempted; step 7 is saved", [])


def test_another_loss_is_told_with_its_own_stacks_and_the_process_may_end_in_order(tmp_path):
    async def lose_a_rank():
        raise ComponentLost("rank 1 hangs", "rank 0 in all_reduce")

    error, codes = run(Head(), lose_a_rank, tmp_path)
    assert str(error) == f"rank 1 hangs; who waits for whom is in {tmp_path / STACKS}; step 7 is saved"
    assert (tmp_path / STACKS).read_text() == "rank 0 in all_reduce"
    assert codes == []


def test_what_is_no_loss_passes_as_it_is():
    async def stop():
        raise RunStopped("more samples failed than the recipe allows")

    error, codes = run(Head(), stop)
    assert (type(error), str(error), codes) == (RunStopped, "more samples failed than the recipe allows", [])
