"""The event simulation on cases that were computed by hand."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from rl.plan.rules import Rules
from rl.plan.simulation import simulate
from rl.plan.stage_times import DrawnTimes, Spread, Work


@dataclass
class Times:
    """Seconds of each stage, given as a number or by (step, task, sample, call)."""

    sample: float | Callable[[int, int, int, int], float] = 0.0
    generate: float | Callable[[int, int, int, int], float] = 0.0
    judge: float | Callable[[int, int, int, int], float] = 0.0
    update: float | Callable[[int, int, int, int], float] = 0.0
    publish: float | Callable[[int, int, int, int], float] = 0.0
    edited: bool = True

    def seconds(self, work: Work, step: int, task: int = 0, sample: int = 0, call: int = 0) -> float:
        seconds = getattr(self, work.value)
        return float(seconds(step, task, sample, call) if callable(seconds) else seconds)

    def has_edit(self, step: int, task: int, sample: int) -> bool:
        return self.edited


ALONE = Rules(groups_per_step=1, n=1)
PAIR = Rules(groups_per_step=1, n=2)
# The first response takes 3 s, the second one 1 s.
UNLIKE = Times(sample=lambda step, task, sample, call: (3, 1)[sample], generate=2, judge=1, update=3, publish=1)


def ends(rules: Rules, times: Times, num_steps: int = 1) -> tuple[float, ...]:
    return simulate(rules, times, num_steps).ends


def test_an_image_is_made_while_the_other_response_is_still_drawn():
    # images 1-3 and 3-5, scores until 4 and 6, update and publish until 10
    assert ends(PAIR, UNLIKE) == (10,)


def test_a_serial_step_has_all_responses_before_its_first_image():
    serial = replace(PAIR, is_serial=True)
    # one generator: images 3-5 and 5-7, scores until 8, update and publish until 12
    assert ends(serial, UNLIKE) == (12,)
    # two: both images 3-5, scores until 6, update and publish until 10
    assert ends(replace(serial, generator_places=2), UNLIKE) == (10,)
    # and the next step begins when the first one is published
    assert ends(serial, UNLIKE, 3) == (12, 24, 36)


def test_images_wait_for_a_generator_in_the_order_of_their_responses():
    times = Times(sample=lambda step, task, sample, call: (3, 1, 2)[sample], generate=4)
    # one: 1-5, 5-9, 9-13; two: 1-5, 2-6, 5-9
    assert ends(Rules(1, 3), times) == (13,)
    assert ends(Rules(1, 3, generator_places=2), times) == (9,)


def test_responses_wait_for_a_place_in_the_sampler():
    # drawn until 2, 4 and 6; then the update
    assert ends(Rules(1, 3, sampler_places=1), Times(sample=2, update=1)) == (7,)
    assert ends(Rules(1, 3, sampler_places=3), Times(sample=2, update=1)) == (3,)


def test_calls_of_the_judge_are_made_at_once_as_far_as_there_are_places():
    times = Times(sample=1, judge=lambda step, task, sample, call: (3, 5)[call])
    rules = Rules(1, 2, generator_places=2, judge_calls=2)
    # all four at once; two places: 1-4 and 1-6 of the first, 4-7 and 6-11 of the second; one: 1-4-9-12-17
    assert ends(rules, times) == (6,)
    assert ends(replace(rules, judge_places=2), times) == (11,)
    assert ends(replace(rules, judge_places=1), times) == (17,)


def test_workers_carry_so_many_groups_at_a_time():
    times = Times(sample=2, generate=1)
    # three groups of one: drawn until 2 and made until 3 each, one after the other; or two and then one
    assert ends(Rules(3, 1, groups_in_flight=1, generator_places=3), times) == (9,)
    assert ends(Rules(3, 1, groups_in_flight=2, generator_places=3), times) == (6,)
    assert ends(Rules(3, 1, groups_in_flight=3, generator_places=3), times) == (3,)


def test_a_step_starts_once_the_one_before_the_last_k_is_published():
    times = Times(sample=3, update=1.5, publish=0.5)
    assert ends(ALONE, times, 3) == (5, 10, 15)
    # 1 and 2 are drawn until 3; updates until 5 and 7; 3 is drawn from 5 to 8, 4 from 7 to 10; ...
    assert ends(replace(ALONE, max_staleness=1), times, 6) == (5, 7, 10, 12, 15, 17)
    # with 2 ahead the policy is never idle after the first step
    assert ends(replace(ALONE, max_staleness=2), times, 6) == (5, 7, 9, 11, 13, 15)


def test_steps_are_learned_from_in_their_order():
    times = Times(sample=lambda step, task, sample, call: 10 if step == 1 else 1, update=1)
    assert ends(replace(ALONE, max_staleness=1), times, 3) == (11, 12, 13)


def test_a_response_that_is_not_tried_out_is_done():
    assert ends(PAIR, replace(UNLIKE, edited=False)) == (7,)


def test_edits_of_one_group_share_a_batch():
    times = Times(sample=1, generate=2, judge=1)
    # both groups' responses are there at 1: batches 1-5 and 5-9, then the scores
    assert ends(Rules(2, 2, batch_size=2), times) == (10,)
    assert ends(Rules(2, 2, batch_size=8), times) == (10,)
    # a batch is done as a whole: the first image of two waits for the second
    late = Times(sample=1, generate=2, judge=lambda step, task, sample, call: (5, 1)[sample])
    assert ends(Rules(1, 2, batch_size=2), late) == (10,)
    assert ends(Rules(1, 2, batch_size=1), late) == (8,)


def test_warm_steps_are_in_no_figure():
    rules = Rules(1, 1, max_staleness=1, sampler_places=2, judge_places=4)
    # ends as above: 5, 7 | 10, 12, 15, 17. Of 7 to 17 the policy is busy for 8 s; the sampler's two places for
    # 1 (step 3), 3, 3 and 3 s
    found = simulate(rules, Times(sample=3, update=2), 4, warm_steps=2)
    assert found.ends == (5, 7, 10, 12, 15, 17)
    assert (found.seconds, found.step_seconds) == (10, 2.5)
    assert found.busy == pytest.approx({"policy": 0.8, "samplers": 0.5, "generator": 0.0, "judge": 0.0})
    assert found.bottleneck == "policy"


@pytest.mark.parametrize(
    ("times", "bottleneck"),
    [
        (Times(sample=9, generate=1, judge=1, update=1), "samplers"),
        (Times(sample=1, generate=9, judge=1, update=1), "generator"),
        (Times(sample=1, generate=1, judge=9, update=1), "judge"),
        (Times(sample=1, generate=1, judge=1, update=30), "policy"),
    ],
)
def test_the_busiest_stage_is_the_bottleneck(times, bottleneck):
    rules = Rules(2, 2, max_staleness=4, sampler_places=1, judge_places=1)
    found = simulate(rules, times, 20, 5)
    assert found.bottleneck == bottleneck
    assert found.busy[bottleneck] == pytest.approx(1.0, abs=0.1)  # the last step has its chain alone
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in found.busy.values())


def test_what_cannot_be_run_is_refused():
    with pytest.raises(ValueError, match="max_staleness has to be 0"):
        simulate(replace(ALONE, is_serial=True, max_staleness=1), Times(), 1)
    with pytest.raises(ValueError, match="num_steps is 0"):
        simulate(ALONE, Times(), 0)


def test_a_run_without_any_time_ends():
    found = simulate(PAIR, Times(), 3)
    assert (found.ends, found.seconds, set(found.busy.values())) == ((0, 0, 0), 0, {0.0})


def test_a_sample_is_told_where_it_was_and_for_how_long():
    # responses 3 and 1, images 3-5 and 1-3, scores 1 each; serial: the second image waits from 3 to 5
    assert simulate(PAIR, UNLIKE, 1).sample_seconds == {"samplers": 2, "generator": 2, "judge": 1}
    found = simulate(replace(PAIR, is_serial=True), UNLIKE, 1)
    assert found.sample_seconds == {"samplers": 2, "generator": 3, "judge": 1}
    # of a later step only: its images do not wait, the first step's second one does
    later = replace(UNLIKE, sample=lambda step, task, sample, call: (3, 1)[sample] if step > 1 else 1)
    assert simulate(PAIR, later, 1).sample_seconds["generator"] == 3
    assert simulate(PAIR, later, 1, warm_steps=1).sample_seconds == {"samplers": 2, "generator": 2, "judge": 1}
    assert simulate(PAIR, replace(UNLIKE, edited=False), 1).sample_seconds == {
        "samplers": 2,
        "generator": 0,
        "judge": 0,
    }


def test_draws_depend_on_their_place_alone_and_follow_their_distribution():
    times = DrawnTimes({Work.SAMPLE: Spread(18.0, 0.45)}, seed=3, factor=2.0)
    drawn = [times.seconds(Work.SAMPLE, step, task, 1) for step in range(1, 101) for task in range(20)]
    assert drawn == [times.seconds(Work.SAMPLE, step, task, 1) for step in range(1, 101) for task in range(20)]
    assert len(set(drawn)) == len(drawn)
    assert sorted(drawn)[1000] == pytest.approx(9.0, rel=0.05)
    assert sum(drawn) / 2000 == pytest.approx(Spread(18.0, 0.45).mean / 2, rel=0.03)
    assert times.seconds(Work.UPDATE, 1) == 0.0
    assert DrawnTimes({Work.UPDATE: Spread(30.0)}, factor=10).seconds(Work.UPDATE, 5) == 3.0


def test_a_share_of_the_groups_is_tried_out():
    by_group = DrawnTimes({}, edited_share=0.6)
    shares = [[by_group.has_edit(step, 0, sample) for sample in range(4)] for step in range(500)]
    assert all(len(set(group)) == 1 for group in shares)
    assert sum(group[0] for group in shares) == pytest.approx(300, abs=35)
    by_sample = replace(by_group, has_whole_groups=False)
    assert any(len({by_sample.has_edit(step, 0, sample) for sample in range(4)}) == 2 for step in range(9))
    assert all(DrawnTimes({}).has_edit(step, 0, 0) for step in range(99))
