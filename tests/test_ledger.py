"""The ledger keeps what was committed and repeats nothing."""

from actors.ledger import Ledger, read_ledger
from tests.test_batch import make_group


def write(folder, first_step, steps):
    ledger = Ledger(folder, first_step=first_step)
    for step in steps:
        ledger.write("train", step, [make_group(1, [0.0, None])])
    ledger.close()


def steps(folder):
    return [row["step"] for row in read_ledger(folder)]


def test_rows_are_read_back(tmp_path):
    write(tmp_path, 1, [1, 2])
    assert steps(tmp_path) == [1, 1, 2, 2]
    good, failed = list(read_ledger(tmp_path))[:2]
    assert good["reward"] == {"terms": {}, "total": 0.0}
    assert failed["failure"] == {"stage": "judge", "error": "down"}
    assert failed["reward"] is None


def test_a_resumed_attempt_supersedes_what_it_repeats(tmp_path):
    write(tmp_path, 1, [1, 2, 3])
    write(tmp_path, 2, [2])
    write(tmp_path, 2, [2, 3, 4])
    assert steps(tmp_path) == [1, 1, 2, 2, 3, 3, 4, 4]


def test_a_torn_last_row_is_not_a_row(tmp_path):
    write(tmp_path, 1, [1])
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-20])
    assert steps(tmp_path) == [1]
