"""What `benchmarks/node_loss` would say of a run that lost samples."""

import pytest

from actors.store.append_log import AppendLog
from actors.store.ledger import ATTEMPTS, SAMPLES
from benchmarks.node_loss.watch import Seen, Watch, account

GROUPS, N = 2, 2


@pytest.fixture
def write(tmp_path):
    """Return what writes rows of (step, task, index[, failure]) into a run's ledger."""

    def write(*keys, phase="train"):
        log = AppendLog(tmp_path / "ledger", SAMPLES)
        log.append(
            [
                {
                    "attempt": 0,
                    "phase": phase,
                    "step": step,
                    "task_id": task,
                    "index": index,
                    "failure": {"stage": "sample"} if failed else None,
                    "seconds": {"sample": 1.0, "judge": 0.5},
                }
                for step, task, index, *failed in keys
            ]
        )
        log.close()

    attempts = AppendLog(tmp_path / "ledger", ATTEMPTS)
    attempts.append([{"attempt": 0, "first_step": 1}])
    attempts.close()
    return write


def test_a_lost_sample_is_missed_whatever_is_there_twice(tmp_path, write):
    write((1, "a", 0), (1, "a", 1), (1, "b", 0), (1, "b", 1), (2, "c", 0), (2, "c", 1), (2, "d", 1))
    write((2, "c", 0), (2, "c", 1))  # another worker rolled the group out again
    write((0, "e", 0), phase="before")
    found = account(tmp_path, 2, GROUPS, N)
    assert found == {"expected": 8, "once": 7, "twice": 0, "lost": 2, "failed": 0, "repeated": 2}
    write((2, "d", 0, "failed"))
    found = account(tmp_path, 2, GROUPS, N)
    assert found == {"expected": 8, "once": 8, "twice": 0, "lost": 0, "failed": 1, "repeated": 2}


def test_rows_are_seen_once_as_they_come(tmp_path, write):
    watch = Watch(tmp_path)
    watch.look()
    write((1, "a", 0), (2, "b", 0))
    watch.look()
    watch.look()
    write((2, "b", 1))
    watch.look()
    assert [(one.step, one.seconds) for one in watch.samples] == [(1, 1.5), (2, 1.5), (2, 1.5)]
    assert watch.num_of(2) == 2


def test_a_sample_that_was_under_way_is_not_taken_for_a_new_one(tmp_path):
    watch = Watch(tmp_path, [Seen(9.0, 1, 1.0), Seen(11.0, 2, 4.0), Seen(30.0, 2, 5.0)])
    assert watch.first_after(10.0) == 1.0
    assert watch.first_after(10.0, is_begun_after=True) == 20.0
    assert watch.first_after(40.0) == float("inf")
    assert [watch.num_begun_after(10.0, step) for step in (1, 2)] == [0, 1]
    assert watch.longest_silence(10.0, 40.0) == 19.0
