"""What a run that was killed in a save has wrong. `python -m benchmarks.killed_save` kills a real one."""

import json

import pytest

from benchmarks.killed_save import __main__ as benchmark
from benchmarks.killed_save.__main__ import HELD, LAST, LEARNED, MOST_STAGING_S, difference, main, waits

STATE = {"began": 10.0, "staged": 11.0, "written": 20.0}
STEP = {"time": 15.0, "seconds/update": 2.0, "saving/staging_seconds": 1.0}
AFTER = {"saving/seconds": 10.0}


def learned(steps: range, **other: float) -> dict[int, dict[str, float]]:
    row = dict.fromkeys(LEARNED, 2.0) | STEP | AFTER
    return dict.fromkeys(steps, row | other)


def test_steps_are_compared_by_all_that_they_learned():
    assert difference(learned(range(3, 6)), learned(range(3, 6))) == 0.0
    assert difference(learned(range(3, 6)), learned(range(3, 6), **{"policy/grad_norm": 2.2})) == pytest.approx(0.1)
    assert difference(learned(range(3, 6)), learned(range(3, 6), **{"policy/loss": float("nan")})) == float("inf")
    assert difference(learned(range(3, 6)), learned(range(3, 5))) == float("inf")


def test_an_update_lies_between_the_staging_and_the_end_of_the_write():
    assert waits(STEP, AFTER, STATE) == []
    assert waits(STEP | {"time": 21.0}, AFTER, STATE) == ["an update waited for a checkpoint to be written"]
    assert waits(STEP | {"seconds/update": 4.5}, AFTER, STATE) == ["an update waited for a checkpoint to be written"]
    assert waits(STEP, {"saving/seconds": 1.0}, STATE) == ["the seconds of the save are not in the next step's row"]


@pytest.mark.parametrize(
    ("after", "wrong", "said"),
    [
        ({}, [], ""),
        ({"policy/loss": 2.1}, [], "at most 5.0e-02 apart (bar 1e-06)"),
        ({"saving/staging_seconds": MOST_STAGING_S}, [], "10.00 s (bar 10)"),
        ({}, ["the run that went on ended with code 1"], "missed: the run that went on ended with code 1"),
    ],
)
def test_whatever_is_missed_ends_it_with_1(after, wrong, said, tmp_path, monkeypatch, capsys):
    state = tmp_path / "run" / "checkpoints" / f"step_{HELD:06d}" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps(STATE))
    monkeypatch.setattr(benchmark, "kill_in_save", lambda folder: (learned(range(1, LAST)), []))
    monkeypatch.setattr(benchmark, "go_on", lambda folder, killed_at: (learned(range(1, LAST + 1), **after), wrong))
    assert main(["--folder", str(tmp_path)]) == (1 if said else 0)
    assert said in capsys.readouterr().out
