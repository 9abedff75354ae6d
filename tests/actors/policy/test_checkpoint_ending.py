"""The driver hears of a checkpoint's end from notes or by asking, whichever is first; a lost rank ends the wait."""

import asyncio

import pytest

from actors.policy.checkpoint_ending import one_line, remove_note, say_ended, until_written
from rollout.roles import CheckpointError


async def busy():
    """A rank that computes."""
    await asyncio.sleep(60)


def answers(*told):
    """Return a rank that says one after the other."""
    left = list(told)

    async def ask():
        return left.pop(0)

    return ask


async def ended_within(seconds, *waiting):
    return await asyncio.wait_for(until_written(*waiting), seconds)


def test_ranks_that_compute_leave_notes_which_are_no_part_of_the_checkpoint(tmp_path):
    async def write():
        waiting = asyncio.create_task(until_written(tmp_path, [busy, busy]))
        say_ended(tmp_path, 0, "")
        await asyncio.sleep(0.1)
        assert not waiting.done()
        say_ended(tmp_path, 1, "")
        await asyncio.wait_for(waiting, 5)

    asyncio.run(write())
    assert list(tmp_path.iterdir()) == []


def test_a_rank_that_can_leave_no_note_says_it_when_it_is_asked(tmp_path):
    say_ended(tmp_path / "gone", 0, "")  # no error of its own
    asyncio.run(ended_within(5, tmp_path / "gone", [answers(None, None, "")]))
    with pytest.raises(CheckpointError, match="rank 1 of the policy: OSError: no room"):
        asyncio.run(ended_within(5, tmp_path / "gone", [answers(""), answers(None, "OSError: no room")]))


def test_an_error_is_told_when_all_ranks_have_ended(tmp_path):
    async def fail():
        waiting = asyncio.create_task(until_written(tmp_path, [busy, busy]))
        say_ended(tmp_path, 0, "OSError: no room")
        await asyncio.sleep(0.1)
        assert not waiting.done()  # the other one still writes to the folder
        say_ended(tmp_path, 1, "")
        with pytest.raises(CheckpointError, match="rank 0 of the policy: OSError: no room"):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(fail())


def test_a_rank_that_has_died_ends_the_wait_at_once(tmp_path):
    async def died():
        raise ConnectionError("the actor died")

    with pytest.raises(ConnectionError, match="the actor died"):
        asyncio.run(ended_within(5, tmp_path, [busy, died]))


def test_what_a_cut_note_leaves_is_removed_too(tmp_path):
    (tmp_path / ".rank_0.unfinished").touch()
    (tmp_path / ".rank_0.ended").touch()
    remove_note(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_one_line():
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
