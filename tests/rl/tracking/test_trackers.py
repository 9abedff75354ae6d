"""Trackers that do not start end a run by a line, and leave none behind that did."""

import errno

import pytest

from rl.recipe.jobs import TrackingConfig
from rl.tracking.trackers import start_trackers
from rollout.roles import RunStopped
from tests.support.training import make_recipe

MINE = """
from pathlib import Path

class Good:
    def __init__(self, recipe, first_step, kept): self.path = Path(recipe.run_dir) / "closed"
    def log(self, row, step): pass
    images = alert = log
    def close(self): self.path.touch()

class Bad(Good):
    def __init__(self, recipe, first_step, kept): raise ConnectionError("no answer\\nfrom there")

class Full(Good):
    def __init__(self, recipe, first_step, kept): raise OSError({full}, "no room")
"""


def start(tmp_path, *names):
    (tmp_path / "mine.py").write_text(MINE.format(full=errno.ENOSPC))
    backends = [f"{tmp_path}/mine.py:{name}" for name in names]
    return start_trackers(make_recipe(tmp_path, tracking=TrackingConfig(backends=backends)), 1, [])


def test_one_that_does_not_start_is_one_line_and_the_others_are_closed(tmp_path):
    told = r"tracking.backends has .*mine.py:Bad, which did not start: ConnectionError: no answer from there .*mend it"
    with pytest.raises(RunStopped, match=told):
        start(tmp_path, "Good", "Bad")
    assert (tmp_path / "closed").exists()


def test_a_full_disk_stays_one(tmp_path):
    with pytest.raises(OSError, match="no room"):
        start(tmp_path, "Full")
