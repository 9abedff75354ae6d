"""An earlier run's times for other recipes, held against simulations that know the truth.

Slow: each test simulates schedules of many steps.
"""

from dataclasses import replace

import pytest

from actors.config import JudgeConfig
from rl.plan.rules import rules_of
from rl.plan.run_times import read_run_times
from rl.plan.scaled_times import ScaledTimes
from rl.plan.simulation import simulate
from rl.plan.stage_times import DrawnTimes, Spread, Work
from rl.plan.stages import predict
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe
from tests.support.timed_run import TimedStep, timed_run

pytestmark = pytest.mark.slow

SPREADS = {
    Work.SAMPLE: Spread(1.8, 0.45),
    Work.GENERATE: Spread(0.09),
    Work.JUDGE: Spread(0.4, 0.8),
    Work.UPDATE: Spread(3.0),
}
"""Latencies at a tenth of full size."""
TRUTH = DrawnTimes(SPREADS, seed=7)
GROUPS, N = 16, 8


def recipe_of(tmp_path, *overrides, batch=("generator.max_batch_size=1",)):
    settings = [f"run_dir={tmp_path}/run", f"rollout.groups_per_step={GROUPS}", f"rollout.n={N}"]
    settings += ["rollout.success_share=0", "samplers.max_num_seqs=256", "generator.num_replicas=8"]
    settings += ["workers.num_workers=2", "judge.max_concurrency=64", *batch]
    return load_recipe(REPO / "recipes" / "shapes_grpo.yaml", [*settings, *overrides])


def drawn_step(step: int) -> TimedStep:
    """Return a step with the true time of each piece of work."""
    places = [(step, task, sample) for task in range(GROUPS) for sample in range(N)]
    return TimedStep(
        [TRUTH.seconds(Work.SAMPLE, *place) for place in places],
        [TRUTH.seconds(Work.GENERATE, *place) for place in places],
        [TRUTH.seconds(Work.JUDGE, *place) for place in places],
        update_s=3.0,
        publish_s=0.0,
    )


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = tmp_path_factory.mktemp("known")
    return ScaledTimes(read_run_times(timed_run(folder / "run", recipe_of(folder), [*map(drawn_step, range(1, 5))])))


@pytest.mark.parametrize(("max_staleness", "is_serial"), [(0, False), (1, False), (2, False), (0, True)])
def test_a_run_without_lead_predicts_schedules_within_15_percent(known, tmp_path, max_staleness, is_serial):
    """By stages that are what they are, however many are in flight, as those of `benchmarks.pipeline`."""
    correction = ["algorithm.loss.rollout_correction=token"] if max_staleness else []
    recipe = recipe_of(tmp_path, f"max_staleness={max_staleness}", *correction)
    rules = replace(rules_of(recipe), is_serial=is_serial)
    truth = simulate(rules, TRUTH, 30, warm_steps=max_staleness + 1).step_seconds
    half_s = 0.5  # the driver's
    assert predict(rules, known.stages(recipe)).step_s == pytest.approx(truth + half_s, rel=0.1)


def test_an_update_takes_as_long_as_its_tokens_and_ranks_say(known, tmp_path):
    def update(*overrides):
        return known.stages(recipe_of(tmp_path, *overrides)).spreads[Work.UPDATE].mean

    assert update() == pytest.approx(3.0)
    assert update("policy.num_ranks=4") == pytest.approx(1.5)
    assert update("rollout.groups_per_step=32") == pytest.approx(6.0)
    assert 3.0 < update("rollout.groups_per_step=32", "rollout.n=4") < 6.0, "twice the prompts, as many responses"


def test_engines_of_ours_share_their_time_between_responses_in_flight(known, tmp_path):
    busy = replace(known, run=replace(known.run, engine_s=3.0))
    whole, half = (recipe_of(tmp_path, f"rollout.groups_per_step={groups}") for groups in (16, 8))

    def mean(times, recipe):
        return times.stages(recipe).spreads[Work.SAMPLE].mean

    assert mean(busy, half) == pytest.approx(mean(busy, whole) / 2)
    assert busy.stages(half).sampler_places == 64
    assert mean(known, half) == pytest.approx(mean(known, whole)), "those that do not tell are no engines of ours"
    assert known.stages(half).sampler_places is None


def test_what_cores_have_to_compute_bounds_a_step(known, tmp_path):
    busy = replace(known, run=replace(known.run, engine_s=30.0))
    recipe = recipe_of(tmp_path, "max_staleness=1", "algorithm.loss.rollout_correction=token")
    stages = busy.stages(recipe)
    tried = GROUPS * N * (0.09 + stages.spreads[Work.JUDGE].mean)
    assert stages.core_seconds == pytest.approx(30.0 + tried + 2 * 3.0 + 0.5, rel=0.01)
    asked = replace(recipe, judge=JudgeConfig("openai", model="m"))
    assert busy.stages(asked).core_seconds == pytest.approx(30.0 + GROUPS * N * 0.09 + 2 * 3.0 + 0.5, rel=0.01)
    found = predict(rules_of(recipe), stages, cores=2)
    assert found.step_s == pytest.approx(stages.core_seconds / 2)
    assert found.bottleneck == "CPU cores"
    assert predict(rules_of(recipe), stages).step_s < found.step_s


def test_a_class_of_the_users_own_makes_one_image_at_a_time(known, tmp_path):
    own = ["~generator.name", "~generator.model", "~generator.call", "generator.kind=my_images:Painter"]
    assert known.stages(recipe_of(tmp_path, *own, batch=())).generator_places == 8
    assert known.stages(recipe_of(tmp_path)).generator_places is None
