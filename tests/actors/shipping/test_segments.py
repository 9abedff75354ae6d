"""Segments: whole lines in order, created once, and the beginning of their log when put together."""

from pathlib import Path

import pytest

from actors.shipping import segments
from actors.shipping.segments import Shipped, cut, ledger_prefix, restore, ship, shipped
from actors.store.append_log import AppendLog, read_log
from actors.store.bucket import Bucket, BucketError

PREFIX = "ledgers/run/"


@pytest.fixture
def bucket(tmp_path):
    return Bucket(f"file://{tmp_path}/bucket")


def log_of(folder, *batches):
    """Return the path of a log with a row for each number."""
    log = AppendLog(folder, "calls")
    for batch in batches:
        log.append([{"n": number} for number in batch])
    log.close()
    return log.path


def ship_all(bucket, path):
    there = shipped(bucket, PREFIX).get(path.stem, Shipped())
    for number, piece in enumerate(cut(path, there.num_bytes), there.num_segments + 1):
        ship(bucket, PREFIX, path.stem, number, piece)


def test_an_empty_disk_gets_the_shipped_rows_of_all_writers(bucket, tmp_path):
    first, second = log_of(tmp_path / "here", [1, 2]), log_of(tmp_path / "here", [3])
    ship_all(bucket, first)
    ship_all(bucket, second)
    assert restore(bucket, PREFIX, tmp_path / "there") == 2
    assert [row["n"] for row in read_log(tmp_path / "there", "calls")] == [1, 2, 3]
    assert (tmp_path / "there" / first.name).read_bytes() == first.read_bytes()
    assert restore(bucket, PREFIX, tmp_path / "there") == 0


def test_a_log_that_grew_is_shipped_on_from_where_it_was(bucket, tmp_path):
    log = AppendLog(tmp_path / "here", "calls")
    for numbers in ([1, 2], [3]):
        log.append([{"n": number} for number in numbers])
        ship_all(bucket, log.path)
    assert shipped(bucket, PREFIX) == {log.path.stem: Shipped(2, log.path.stat().st_size)}
    assert restore(bucket, PREFIX, tmp_path / "here") == 0
    restore(bucket, PREFIX, tmp_path / "there")
    assert [row["n"] for row in read_log(tmp_path / "there", "calls")] == [1, 2, 3]


def test_a_line_that_is_being_written_stays_behind(bucket, tmp_path):
    path = log_of(tmp_path / "here", [1, 2])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:10])
    assert b"".join(cut(path, 0)) == whole
    assert list(cut(path, len(whole))) == []


def test_long_logs_are_cut_between_lines(tmp_path, monkeypatch):
    path = log_of(tmp_path, range(50))
    monkeypatch.setattr(segments, "MAX_BYTES", 100)
    pieces = list(cut(path, 0))
    assert len(pieces) > 5
    assert b"".join(pieces) == path.read_bytes()
    assert all(piece.endswith(b"\n") and len(piece) <= 100 for piece in pieces)
    monkeypatch.setattr(segments, "MAX_BYTES", 1)
    assert len(list(cut(path, 0))) == 50


def test_a_segment_is_never_replaced(bucket, tmp_path):
    ship(bucket, PREFIX, "calls-1", 1, b"one\n")
    ship(bucket, PREFIX, "calls-1", 1, b"one\n")  # the answer to the first upload was lost
    with pytest.raises(BucketError, match=r"calls-1/000001\.log holds other rows"):
        ship(bucket, PREFIX, "calls-1", 1, b"two\n")
    assert bucket.read(f"{PREFIX}calls-1/000001.log") == b"one\n"


def test_a_segment_that_somebody_removed_is_named(bucket, tmp_path):
    for number in (1, 2, 3):
        ship(bucket, PREFIX, "calls-1", number, b"row\n")
    bucket.remove(f"{PREFIX}calls-1/000002.log")
    with pytest.raises(BucketError, match=r"ledgers/run/calls-1/000002\.log was removed"):
        restore(bucket, PREFIX, tmp_path)


def test_runs_of_one_name_in_two_folders_are_two(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ledger_prefix(Path("runs/a")) == ledger_prefix(tmp_path / "runs" / "a") == "ledgers/runs/a/"
    ship(bucket, "ledgers/runs/a/", "calls-1", 1, b"row\n")
    ship(bucket, "ledgers/runs/a/seed_0/", "calls-2", 1, b"row\n")
    assert set(shipped(bucket, "ledgers/runs/a/")) == {"calls-1"}
    assert ledger_prefix(Path("runs/ä")) != ledger_prefix(Path("runs/ö"))
