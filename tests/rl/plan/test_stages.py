"""Stages of a recipe, and what a run of them comes to, where it can be computed by hand."""

import pytest

from rl.plan.rules import Rules
from rl.plan.stage_times import Spread, Work
from rl.plan.stages import Quantiles, StagedTimes, Stages, predict


def stages_of(**settings):
    spreads = {Work.SAMPLE: Spread(4.0), Work.GENERATE: Spread(1.0), Work.JUDGE: Spread(2.0), Work.UPDATE: Spread(3.0)}
    return Stages(spreads, **({"edited_share": 1.0} | settings))


def test_a_step_without_lead_is_the_sum_of_what_waits():
    rules = Rules(groups_per_step=2, n=2, generator_places=2)
    found = predict(rules, stages_of())
    # Four responses at 4; two generators make two images each until 6; the last is judged at 8; an update of 3.
    assert found.step_s == pytest.approx(11.0)
    assert found.busy["generator"] == pytest.approx(4 / 22)


def test_places_of_the_times_bound_those_of_the_rules():
    rules = Rules(groups_per_step=2, n=2, generator_places=4)
    assert predict(rules, stages_of()).step_s == pytest.approx(10.0)
    assert predict(rules, stages_of(sampler_places=2)).step_s == pytest.approx(14.0)


def test_samplers_and_policy_that_take_turns_add_up():
    rules = Rules(groups_per_step=2, n=2, max_staleness=2, generator_places=4)
    assert predict(rules, stages_of()).step_s < 7.0
    found = predict(rules, stages_of(), takes_turns=True)
    # Four responses at once take 4, the update 3.
    assert (found.step_s, found.bottleneck) == (pytest.approx(7.0), "samplers and policy in turns")
    assert predict(rules, stages_of(sampler_places=2), takes_turns=True).step_s == pytest.approx(11.0)


def test_a_share_of_the_tasks_is_tried_out_in_each_step():
    times = StagedTimes(stages_of(edited_share=0.6), groups_per_step=5)
    for step in range(1, 20):
        edits = [times.has_edit(step, task, 0) for task in range(5)]
        assert sum(edits) == 3
        assert [times.has_edit(step, task, 1) for task in range(5)] == edits, "a group is tried out as a whole"
    uneven = StagedTimes(stages_of(edited_share=0.5), groups_per_step=5)
    assert [sum(uneven.has_edit(step, task, 0) for task in range(5)) for step in (1, 2, 3, 4)] == [2, 3, 2, 3]


def test_samples_are_tried_out_one_by_one_where_the_verdict_decides():
    times = StagedTimes(stages_of(edited_share=0.5, has_whole_groups=False), groups_per_step=200)
    edits = [times.has_edit(1, task, sample) for task in range(200) for sample in range(2)]
    assert 150 < sum(edits) < 250
    assert edits[::2] != edits[1::2]


def test_measured_times_are_drawn_from_between_them():
    spread = Quantiles.of([4.0, 1.0, 2.0])
    assert [spread.at(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == [1.0, 1.5, 2.0, 3.0, 4.0]
    assert spread.mean == pytest.approx(7 / 3)
    assert spread.times(2.0).values == (2.0, 4.0, 8.0)
    assert Quantiles.of([5.0]).at(0.3) == 5.0
    assert Quantiles.of([0.0, 0.0]).at(0.9) == 0.0
