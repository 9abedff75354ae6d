"""A full disk: who could not write, and what is saved, in one line."""

import asyncio
import errno

import pytest

from actors.store.append_log import AppendLog, GroupCommit, read_log
from actors.store.store import Store
from rl.full_disk import DiskFull, telling_when_full
from rl.tracking.metrics_file import append_metrics
from tests.support.interrupted_run import learn_until


async def write_in_a_run(run_dir, write):
    async with telling_when_full(run_dir):
        await write()


def test_a_row_that_finds_no_room_ends_the_run_by_a_line_and_later_rows_are_whole(tmp_path):
    learn_until(tmp_path, 7)
    log = AppendLog(tmp_path / "ledger", "samples")
    path = log.path

    async def write():
        await GroupCommit(log).append([{"n": 1}])

    told = r"samples-000001-.*No space left.* [MG]iB are free there\); step 7 is saved: .*resume"
    with open("/dev/full", "wb", buffering=0) as log._file, pytest.raises(DiskFull, match=told):
        asyncio.run(write_in_a_run(tmp_path, write))
    log.append([{"n": 2}])  # there is room again
    assert path != log.path
    assert list(read_log(tmp_path / "ledger", "samples")) == [{"n": 2}]


def test_an_answer_that_finds_no_room_is_named_and_leaves_no_half(tmp_path, monkeypatch):
    def no_room(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    async def write():
        Store(tmp_path / "store").put_call("ab12", {"answer": 1})

    monkeypatch.setattr("os.fsync", no_room)
    with pytest.raises(DiskFull, match=r"ab12\.json cannot be written.*no step is saved yet"):
        asyncio.run(write_in_a_run(tmp_path, write))
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_metrics_that_find_no_room_are_named(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        append_metrics(tmp_path, {"step": 1})
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")


def test_any_other_error_of_a_file_is_raised_as_it_is(tmp_path):
    async def write():
        raise PermissionError(errno.EACCES, "Permission denied", "here")

    with pytest.raises(PermissionError):
        asyncio.run(write_in_a_run(tmp_path, write))
