"""Rows on disk: what is committed is read, what is torn is not."""

import asyncio
from typing import Any

import numpy as np
import pytest

from actors.store.append_log import AppendLog, GroupCommit, read_log, tell_damaged


def test_what_is_appended_is_read_kind_by_kind(tmp_path):
    samples, calls = AppendLog(tmp_path, "samples"), AppendLog(tmp_path, "calls")
    samples.append([{"a": 1}, {"a": "ü\n"}])
    calls.append([{"b": 2}])
    samples.append([{"a": 3}])
    assert list(read_log(tmp_path, "samples")) == [{"a": 1}, {"a": "ü\n"}, {"a": 3}]
    assert list(read_log(tmp_path, "calls")) == [{"b": 2}]


def test_a_torn_or_damaged_line_is_skipped_wherever_the_tear_is(tmp_path):
    log = AppendLog(tmp_path, "samples")
    log.append([{"n": 1}, {"n": 2}])
    whole = log.path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole)):
        log.path.write_bytes(whole[:end])
        assert list(read_log(tmp_path, "samples")) == [{"n": 1}]
    log.path.write_bytes(whole.replace(b'"n": 1', b'"n": 7'))
    assert list(read_log(tmp_path, "samples")) == [{"n": 2}]


def test_lines_with_a_wrong_checksum_are_told_and_a_torn_end_is_not(tmp_path, capsys):
    log = AppendLog(tmp_path, "samples")
    log.append([{"a": number} for number in range(4)])
    log.close()
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-5])
    tell_damaged(tmp_path, "samples", "calls")
    assert capsys.readouterr().err == ""
    log.path.write_bytes(whole.replace(b'"a": 1', b'"a": 7').replace(b'"a": 2', b'"a" 2'))
    tell_damaged(tmp_path, "samples", "calls")
    assert capsys.readouterr().err == f"interleave: {log.path}: 2 lines with a wrong checksum, left out\n"


def test_each_writer_has_a_file_of_its_own(tmp_path):
    AppendLog(tmp_path, "samples").append([{"n": 1}])
    AppendLog(tmp_path, "samples").append([{"n": 2}])
    assert len(list(tmp_path.iterdir())) == 2
    assert sorted(row["n"] for row in read_log(tmp_path, "samples")) == [1, 2]


def test_a_log_that_was_opened_later_is_read_later(tmp_path):
    for number in range(12):
        AppendLog(tmp_path, "samples").append([{"n": number}])
    assert [row["n"] for row in read_log(tmp_path, "samples")] == list(range(12))


def test_after_a_failed_write_rows_go_to_a_new_log(tmp_path, monkeypatch):
    log = AppendLog(tmp_path, "samples")
    log.append([{"n": 1}])
    log._file.write(b"0000 {torn")

    def full(handle):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="disk full"):
            log.append([{"n": 2}])
    log.append([{"n": 3}])
    assert [row["n"] for row in read_log(tmp_path, "samples")] == [1, 3]


def test_concurrent_callers_share_a_sync_and_one_bad_row_fails_alone(tmp_path, monkeypatch):
    log = AppendLog(tmp_path, "samples")
    num_syncs = 0

    def append_lines(lines):
        nonlocal num_syncs
        num_syncs += 1
        AppendLog.append_lines(log, lines)

    async def many():
        monkeypatch.setattr(log, "append_lines", append_lines)
        commits = GroupCommit(log)
        rows: Any = [[{"n": n}] for n in range(50)] + [[{1.5: {(): 0}}]]
        return await asyncio.gather(*map(commits.append, rows), return_exceptions=True)

    *good, bad = asyncio.run(many())
    assert good == [None] * 50
    assert isinstance(bad, TypeError)
    assert [row["n"] for row in read_log(tmp_path, "samples")] == list(range(50))
    assert num_syncs <= 2


def test_numbers_of_numpy_are_numbers(tmp_path):
    AppendLog(tmp_path, "samples").append([{"a": np.float32(0.5), "b": np.arange(2), "c": {1, 2}.__class__}])
    assert list(read_log(tmp_path, "samples")) == [{"a": 0.5, "b": [0, 1], "c": "<class 'set'>"}]
