"""The page of an ablation: one file with its plot, whole at any time.

Slow: whole ablations, with plots.
"""

import json

import pytest
from PIL import Image

from rl.ablation.page import write_results
from rl.ablation.plan import Kind
from rl.ablation.table import make_table
from tests.support.ablations import planned, tell

pytestmark = pytest.mark.slow

TRIALS = {"a": [True, False], "b": [True, True]}


def test_a_page_holds_tables_plot_and_parts(tmp_path):
    plan = planned(tmp_path)
    tell(plan, "sft", {1: TRIALS, 3: TRIALS})
    tell(plan, "full-seed0", {1: TRIALS, 3: TRIALS})
    plan.part(Kind.TRAIN, "full-seed0").finish(630.0)
    (tmp_path / "runs" / "full-seed0").mkdir(parents=True)
    (tmp_path / "runs" / "full-seed0" / "report.html").touch()
    page = write_results(plan, make_table(plan), {"no_step-seed0": "<the judge> is down"}).read_text()
    assert page.count("<svg") == 1
    assert "<td>planner + full</td><td>3</td><td>1</td><td>75.0</td>" in page
    assert '<a href="runs/full-seed0/report.html">train full-seed0</a> <span class="dim">done, 10.5 minutes' in page
    assert "stopped: &lt;the judge&gt; is down" in page
    assert "not there yet: stories no_step-seed0, stories full-seed1" in page
    assert "<b>no_step</b> <code>reward=no_step</code>" in page
    assert json.loads((tmp_path / "table.json").read_text())["rows"]
    assert Image.open(tmp_path / "plot.png").size[0] > 1000
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")


def test_a_page_of_the_first_stories_alone(tmp_path):
    plan = planned(tmp_path)
    tell(plan, "sft", {1: TRIALS, 3: TRIALS})
    assert "what each part of RL adds" not in write_results(plan, make_table(plan), {}).read_text()
