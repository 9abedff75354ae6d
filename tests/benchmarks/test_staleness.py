"""The bars of a comparison between runs ahead and on-policy ones."""

import json

import pytest

from benchmarks.staleness import Run, report
from rl.evaluation import Change


@pytest.mark.parametrize(
    ("difference", "seconds", "oldest", "code"),
    [(-0.009, 99.0, 1, 0), (-0.011, 99.0, 1, 1), (0.0, 101.0, 1, 1), (0.0, 99.0, 2, 1)],
)
def test_each_bar_can_be_missed(tmp_path, capsys, difference, seconds, oldest, code):
    runs = [Run(0, 0, 100.0, 0.6, 0, 0.0), Run(0, 1, seconds, 0.6, oldest, 0.5)]
    change = Change(0.6, 0.6 + difference, -0.1, 0.1)
    assert report(runs, [change], tmp_path / "out.json") == code
    assert capsys.readouterr().out.count("bar:") == 3
    assert json.loads((tmp_path / "out.json").read_text())["wall_time_ratio"] == seconds / 100
