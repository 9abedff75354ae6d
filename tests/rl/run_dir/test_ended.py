"""How a run's last start ended: what its folder tells afterwards."""

import pytest

from rl.preemption import Preempted
from rl.run_dir.ended import noting_the_end, read_end
from rollout.roles import BudgetSpent, RunStopped


def test_an_end_in_good_order_is_noted_and_a_new_start_takes_it_back(tmp_path):
    assert read_end(tmp_path) is None
    with noting_the_end(tmp_path):
        assert read_end(tmp_path) is None
    ended = read_end(tmp_path)
    assert ended is not None
    assert (ended.how, ended.why) == ("finished", "")
    with noting_the_end(tmp_path):
        assert read_end(tmp_path) is None  # a kill from here on leaves no word of the start before


@pytest.mark.parametrize(
    ("error", "how", "why"),
    [
        (Preempted(7), "preempted", "preempted; step 7 is saved"),
        (BudgetSpent("judge.budget_usd is spent"), "its budget was spent", "judge.budget_usd is spent"),
        (RunStopped("60 % of samples\nfailed"), "stopped", "60 % of samples failed"),
        (KeyboardInterrupt(), "interrupted", ""),
        (TypeError("no such thing"), "broke", "TypeError: no such thing"),
    ],
)
def test_what_ended_a_run_is_noted_and_goes_on(tmp_path, error, how, why):
    with pytest.raises(type(error)), noting_the_end(tmp_path):
        raise error
    ended = read_end(tmp_path)
    assert ended is not None
    assert (ended.how, ended.why) == (how, why)


def test_the_cause_of_what_broke_is_told(tmp_path):
    broke = RuntimeError("the run broke")
    broke.__cause__ = OSError(28, "No space left on device")
    with pytest.raises(RuntimeError), noting_the_end(tmp_path):
        raise broke
    ended = read_end(tmp_path)
    assert ended is not None
    assert ended.why == "OSError: [Errno 28] No space left on device"


def test_a_note_that_is_torn_or_of_another_version_is_none(tmp_path):
    for text in ("", "{", "[]", '{"how": "x"}', '{"how": "x", "why": "", "time": 1, "more": 2}'):
        (tmp_path / "ended.json").write_text(text)
        assert read_end(tmp_path) is None
