"""The figures of an ablation, held against numbers computed by hand.

Slow: each test reads the recipes of whole ablations.
"""

import json

import pytest

from evals.stories import ALONE, PLANNED
from rl.ablation.plan import Kind
from rl.ablation.table import has_figures, make_table, told_arms
from rl.ablation.text import notes, text_tables
from tests.support.ablations import planned, tell

pytestmark = pytest.mark.slow

NONE, HALF, ALL = [False] * 4, [True, True, False, False], [True] * 4
QUARTER, MOST = [True, False, False, False], [True, True, True, False]


def both(first, second=None):
    """Return what is satisfied in the two stories."""
    return {"a": first, "b": first if second is None else second}


@pytest.fixture
def plan(tmp_path):
    """Return an ablation whose parts are done but for the second seed of full."""
    plan = planned(tmp_path)
    tell(plan, "sft", {1: both(QUARTER), 3: both(HALF)}, {ALONE: both(NONE), PLANNED: both(QUARTER)})
    tell(plan, "full-seed0", {1: both(QUARTER), 3: both(MOST)})
    tell(plan, "no_step-seed0", {1: both(QUARTER), 3: both(HALF, ALL)})
    return plan


def gaps(found):
    return {
        (gap.what, gap.tries): (gap.num_seeds, gap.gap.value, gap.gap.low, gap.gap.high, gap.verdict) for gap in found
    }


def test_there_are_no_figures_before_the_first_stories(tmp_path, plan):
    assert has_figures(plan)
    assert not has_figures(planned(tmp_path / "other"))


def test_rows_are_arms_by_tries(plan):
    table = make_table(plan)
    assert {(row.name, row.tries): (row.num_seeds, row.satisfied.value) for row in table.rows} == {
        (ALONE, 1): (0, 0.0),
        (PLANNED, 1): (0, 0.25),
        ("planner + sft", 1): (0, 0.25),
        ("planner + sft", 3): (0, 0.5),
        ("planner + full", 1): (1, 0.25),
        ("planner + full", 3): (1, 0.75),
        ("planner + no_step", 1): (1, 0.25),
        ("planner + no_step", 3): (1, 0.75),
    }
    assert table.missing == ["stories full-seed1"]


def test_the_order_is_generator_planner_sft_rl(plan):
    assert gaps(make_table(plan).order) == {
        ("planner over generator alone", 1): (0, 0.25, 0.25, 0.25, "above"),
        ("sft over planner", 3): (0, 0.25, 0.25, 0.25, "above"),
        ("full over sft", 3): (1, 0.25, 0.25, 0.25, "above"),
    }


def test_where_zero_is_inside_it_is_a_tie(plan):
    # By story +0.25 and -0.25: whatever is drawn of the two, the whole range between.
    assert gaps(make_table(plan).variants) == {("full over no_step", 3): (1, 0.0, -0.25, 0.25, "a tie")}


def test_seeds_are_paired_where_both_have_them(plan):
    tell(plan, "full-seed1", {1: both(QUARTER), 3: both(QUARTER)})
    table = make_table(plan)
    assert table.missing == []
    (row,) = [row for row in table.rows if (row.name, row.tries) == ("planner + full", 3)]
    assert (row.num_seeds, row.satisfied.value, row.by_seed) == (2, 0.5, {"0": 0.75, "1": 0.25})
    assert gaps(table.order)["full over sft", 3] == (2, 0.0, -0.25, 0.25, "a tie")
    # No_step has no second seed: compared by the first alone, as before.
    assert gaps(table.variants) == {("full over no_step", 3): (1, 0.0, -0.25, 0.25, "a tie")}


def test_rls_gain_over_sft_is_relative(plan):
    (gain,) = make_table(plan).gains
    assert (gain.gap.value, gain.gap.low, gain.gap.high) == (0.5, 0.5, 0.5)
    titles = [table.title for table in text_tables(make_table(plan))]
    assert "RL's gain over sft, % of sft's share (the paper's: 2.8 %)" in titles


def test_there_is_no_gain_over_nothing(plan):
    tell(plan, "sft", {1: both(NONE), 3: both(NONE)})
    table = make_table(plan)
    assert table.gains == []
    assert gaps(table.order)["full over sft", 3][1] == 0.75
    json.dumps(table.as_json(), allow_nan=False)


def test_a_step_that_met_an_outage_is_told(plan):
    file = plan.told("no_step-seed0")
    told = json.loads(file.read_text())
    told["arms"][1]["steps"][0]["error"] = "JudgeError: down"
    file.write_text(json.dumps(told))
    assert notes(make_table(plan)) == [
        "not there yet: stories full-seed1",
        "steps on whose way a call failed count as not satisfied: planner + no_step, tries 3: 1",
    ]


def test_the_table_is_plain_json_with_verdicts(plan):
    said = json.loads(json.dumps(make_table(plan).as_json(), allow_nan=False))
    assert said["schema"] == "interleave.ablation_table/1"
    assert [gap["verdict"] for gap in said["order"]] == ["above"] * 3
    assert said["paper_gain_percent"] == 2.8


def test_cells_are_points_of_a_hundred(plan):
    steps, order, *_ = text_tables(make_table(plan))
    assert ["planner + full", "3", "1", "75.0", "75.0 to 75.0", ""] in steps.rows
    assert order.rows[0] == ["planner over generator alone", "1", "", "+25.0", "+25.0 to +25.0", "above"]


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"arms": [1]}', '{"arms": [{"name": "planner"}]}'])
def test_damaged_stories_are_told_with_how_they_are_made_again(plan, content):
    file, record = plan.told("sft"), plan.part(Kind.STORIES, "sft").record
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(
        ValueError, match=rf"^{file} .*; put it back, or remove {record} to have these stories told again"
    ):
        told_arms(plan)
    record.unlink()
    told_arms(plan)
