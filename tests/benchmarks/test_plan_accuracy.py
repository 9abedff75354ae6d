"""Predictions and runs are compared; runs that are there are not repeated."""

import json

import pytest

from benchmarks import plan_accuracy
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe
from tests.support.timed_run import STEP_S, TimedStep, timed_run


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """Have runs written instead of trained; return what was asked for."""
    asked = []

    def train(folder, steps, overrides):
        asked.append(overrides)
        recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml", [f"run_dir={folder}", *overrides])
        responses = [40.0] * (recipe.rollout.groups_per_step * recipe.rollout.n)
        step = TimedStep(responses, [1.0] * 48, [1.0] * 48, update_s=10.0, metrics={"samplers/seconds": 40.0})
        timed_run(folder, recipe, [step] * 3)
        (folder / "report.html").write_text("")

    monkeypatch.setattr(plan_accuracy, "_train", train)
    return asked


@pytest.mark.slow
def test_each_round_predicts_all_runs_by_its_first(trained, tmp_path, capsys):
    """Slow: seconds of computing."""
    arguments = ["--out", str(tmp_path / "out"), "--rounds", "2"]
    code = plan_accuracy.main(arguments)
    errors = json.loads((tmp_path / "out" / "accuracy.json").read_text())
    assert len(trained) == 6
    assert list(errors) == list(plan_accuracy.RUNS)
    # 40 s of responses, 48 images of 1 s, a call of 1 s, an update of 10 s, a publish of 1 s and the driver's 0.5 s.
    assert errors[plan_accuracy.BASE] == pytest.approx((40 + 48 + 1 + 10 + 1.5) / STEP_S - 1, abs=0.03)
    assert code == int(max(map(abs, errors.values())) > plan_accuracy.BAR)
    assert "predicted" in capsys.readouterr().out
    plan_accuracy.main(arguments)
    assert len(trained) == 6, "their folders are there"
