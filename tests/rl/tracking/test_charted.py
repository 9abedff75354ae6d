"""A run has one chart however often it is resumed, and no metric of a step is charted twice."""

import math
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from rl.recipe.jobs import TrackingConfig
from rl.tracking.charted import Charted
from rl.tracking.trackers import start_trackers
from tests.support.training import make_recipe

BEFORE = {"eval/reward_before": 0.2}
LAST = 4


def test_a_later_start_charts_only_what_is_new(tmp_path):
    first = Charted(tmp_path / "chart.json")
    first.call("abc")
    assert first.new_of({"step": 1, "loss": math.nan}, 1) == {"loss": pytest.approx(math.nan, nan_ok=True)}
    assert first.new_of({"loss": 2.0}, 2) == {"loss": 2.0}
    assert first.new_of({"eval/loss": 9.0}, 1) == {"eval/loss": 9.0}  # an evaluation that was over late
    assert first.new_of({"eval/loss": 9.0, "loss": 2.5}, 2) == {"eval/loss": 9.0, "loss": 2.5}  # its own second row
    again = Charted(tmp_path / "chart.json")
    assert again.name == "abc"
    assert again.new_of({"loss": 2.0, "grad": 1.0}, 2) == {"grad": 1.0}
    assert again.new_of({"loss": 3.0}, 3) == {"loss": 3.0}


def test_another_name_is_another_chart_and_what_is_hidden_may_come_again(tmp_path):
    first = Charted(tmp_path / "chart.json", "abc")
    first.new_of({"loss": 1.0}, 5)
    cut = Charted(tmp_path / "chart.json", "abc", up_to=3)
    assert [cut.new_of({"loss": 1.0}, step) for step in (3, 4)] == [{}, {"loss": 1.0}]
    assert Charted(tmp_path / "chart.json", "other").new_of({"loss": 1.0}, 2) == {"loss": 1.0}


@pytest.mark.parametrize("content", [b"", b"\x80", b"[]", b'{"name": "abc"}', b'{"name": "a", "steps": {"loss": "x"}}'])
def test_a_damaged_note_begins_another_chart_and_says_so(tmp_path, content, capsys):
    (tmp_path / "chart.json").write_bytes(content)
    charted = Charted(tmp_path / "chart.json")
    assert (charted.name, charted.new_of({"loss": 1.0}, 0)) == ("", {"loss": 1.0})
    told = capsys.readouterr().err
    assert told.startswith(f"interleave: {tmp_path}/chart.json cannot be read")
    assert "another chart begins" in told
    assert told.count("\n") == 1


def started(recipe, first_step, kept, until):
    """Follow a run from one start to its kill, or to its end: what its log tells its trackers."""
    (tracker,) = start_trackers(recipe, first_step, kept)
    rows = [*kept]
    for step in range(first_step, until + 1):
        rows.append({"step": step, "reward/mean": step / 10})
        tracker.log({"reward/mean": step / 10}, step)
        tracker.images("pictures", [(Image.new("RGB", (8, 4)), f"of {step}")], step)
    if until == LAST:
        tracker.log({"eval/reward_after": 0.9}, LAST)
    return tracker, rows


def resumed_often(recipe):
    """Start a run three times: killed after step 3 (saved: 2), killed before its report, then whole."""
    tracker, rows = started(recipe, 1, [{"step": 0, **BEFORE}], 3)
    tracker.close()
    tracker, rows = started(recipe, 3, rows[:3], LAST)
    tracker.close()
    tracker, _ = started(recipe, LAST + 1, rows, LAST)
    tracker.close()


class FakeRun:
    def __init__(self, lines):
        self.lines = lines

    def define_metric(self, name, step_metric):
        pass

    def log(self, row):
        self.lines.append(row)

    def finish(self):
        pass


@pytest.fixture
def wandb(monkeypatch):
    """Return a W&B that keeps runs by id, and what it was asked for."""
    runs, asked = {}, []

    def init(**arguments):
        asked.append(arguments)
        return FakeRun(runs.setdefault(arguments["id"], []))

    fake = SimpleNamespace(init=init, Settings=lambda **_: None, Image=lambda picture, caption: caption)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for variable in ("WANDB_RUN_ID", "WANDB_RESUME", "WANDB_MODE", "WANDB_DISABLED", "WANDB_NAME"):
        monkeypatch.delenv(variable, raising=False)
    return SimpleNamespace(runs=runs, asked=asked)


def test_wandb_has_one_run_over_resumes_and_each_row_once(tmp_path, wandb):
    resumed_often(make_recipe(tmp_path, tracking=TrackingConfig(backends=["wandb"])))
    (lines,) = wandb.runs.values()
    assert {(asked["id"], asked["resume"], asked["name"]) for asked in wandb.asked} == {
        (next(iter(wandb.runs)), "allow", "fake")
    }
    charted = [(line["step"], key) for line in lines for key in line if key != "step"]
    metrics = [(step, "reward/mean") for step in range(1, LAST + 1)]
    pictures = [(step, "pictures") for step in range(1, LAST + 1)]
    assert sorted(charted) == sorted([(0, "eval/reward_before"), *metrics, *pictures, (LAST, "eval/reward_after")])


def test_a_run_whose_id_is_lost_or_given_gets_all_that_is_kept(tmp_path, wandb, monkeypatch):
    recipe = make_recipe(tmp_path, tracking=TrackingConfig(backends=["wandb"]))
    _, rows = started(recipe, 1, [{"step": 0, **BEFORE}], 3)
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    started(recipe, 4, rows, 4)
    assert [line["step"] for line in wandb.runs["given"] if "pictures" not in line] == [0, 1, 2, 3, 4, 4]
    (tmp_path / "wandb.json").unlink()
    monkeypatch.delenv("WANDB_RUN_ID")
    started(recipe, 4, rows, 3)
    assert len(wandb.runs) == 3
    assert [line["step"] for line in wandb.runs[wandb.asked[-1]["id"]]] == [0, 1, 2, 3]


def test_tensorboard_shows_each_row_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    resumed_often(make_recipe(tmp_path, tracking=TrackingConfig(backends=["tensorboard"])))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("reward/mean")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("eval/reward_after")] == [LAST]
    assert [event.step for event in events.Images("pictures/0")] == [1, 2, 3, 4]
