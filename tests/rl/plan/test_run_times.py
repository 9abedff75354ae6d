"""Times read from a run's folder: what a stage does, without what it waits for."""

from dataclasses import replace
from statistics import fmean

import pytest

from rl.plan.run_times import Batches, read_run_times
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe
from tests.support.timed_run import STEP_S, TimedStep, timed_run


@pytest.fixture
def recipe(tmp_path):
    return load_recipe(
        REPO / "recipes" / "shapes_grpo.yaml", [f"run_dir={tmp_path}/run", "rollout.n=2", "rollout.groups_per_step=2"]
    )


WARM = TimedStep([60.0] * 4, [30.0] * 4, [20.0] * 4, update_s=40.0)


def test_times_are_those_of_the_steps_after_the_first(recipe, tmp_path):
    steps = [
        WARM,
        TimedStep([1.0, 2.0, 3.0, 4.0], [0.5, 0.7], [0.1, 0.3], metrics={"samplers/seconds": 4.0}),
        TimedStep([5.0, 6.0, 7.0, 8.0], [0.9, 1.1], [0.5, 0.7], update_s=4.0, metrics={"samplers/seconds": 6.0}),
    ]
    found = read_run_times(timed_run(tmp_path / "run", recipe, steps))
    assert found.responses == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    assert found.edits == (0.5, 0.7, 0.9, 1.1), "the replica's own, without the queue before it"
    assert found.judge_calls == (0.1, 0.3, 0.5, 0.7)
    assert (found.update_s, found.publish_s, found.driver_s) == (3.0, 1.0, 0.5)
    assert (found.engine_s, found.step_s) == (5.0, STEP_S)
    assert found.workload.edited_share == 0.5
    assert (found.workload.groups, found.workload.n, found.workload.response_tokens) == (2, 2, 50)


def test_answers_that_were_there_take_no_time(recipe, tmp_path):
    step = TimedStep([1.0] * 4, [2.0, 2.0], [3.0], metrics={"judge/calls": 2.0})
    run = timed_run(tmp_path / "run", recipe, [WARM, step])
    rows = [line for log in (run / "ledger").glob("calls-*.log") for line in log.read_bytes().splitlines(True)]
    kept = [line for line in rows if b'"run_seconds": 2.0' not in line or line is rows[-2]]
    log = next((run / "ledger").glob("calls-*.log"))
    log.write_bytes(b"".join(kept))
    found = read_run_times(run)
    assert found.edits == (0.0, 2.0), "two were tried out, and one image was made"
    assert found.judge_calls == (0.0, 3.0)


def test_a_run_of_one_step_has_times_too(recipe, tmp_path):
    assert read_run_times(timed_run(tmp_path / "run", recipe, [WARM])).update_s == 40.0


def test_what_a_batch_takes_beside_its_images_is_told_from_batches_of_several_sizes(recipe, tmp_path):
    # A pass takes 0.1 s and 0.05 s an image: shares of 0.15 (alone), 0.1 (of two) and 0.075 (of four).
    edits = [0.15, 0.1, 0.1, 0.075, 0.075, 0.075, 0.075]
    step = TimedStep([1.0] * 8, edits, [0.1] * 7)
    batches = read_run_times(timed_run(tmp_path / "run", recipe, [WARM, step])).batches
    assert batches.fixed_s == pytest.approx(0.1)
    assert batches.image_s == pytest.approx(0.05)
    assert batches.mean_size == pytest.approx((1 + 4 + 16) / 7)
    assert batches.slower(1) == pytest.approx(0.15 / fmean([0.1 / 3 + 0.05]))


def test_batches_of_one_size_say_nothing_about_others():
    assert Batches(4.0).slower(1.0) == 1.0


def test_images_that_wait_inside_a_class_of_the_users_own_are_taken_without_that(recipe, tmp_path):
    own = replace(recipe, generator=replace(recipe.generator, name="", kind="my_images:Painter", model="", call={}))
    edits = [0.09, 0.18, 0.27, 0.36, 0.45]
    found = read_run_times(timed_run(tmp_path / "run", own, [WARM, TimedStep([1.0] * 8, edits)]), own)
    assert found.edits == (0.09,)


@pytest.mark.parametrize(
    ("name", "words"),
    [("recipe.yaml", "has no recipe.yaml"), ("metrics.jsonl", "no step"), ("ledger", "no sample")],
)
def test_a_folder_that_tells_no_times_is_said(recipe, tmp_path, name, words):
    run = timed_run(tmp_path / "run", recipe, [WARM])
    (run / name).rename(run / f"other-{name}")
    with pytest.raises(ValueError, match=words):
        read_run_times(run)
