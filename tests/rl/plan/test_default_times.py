"""Documented defaults, held against figures that were computed or measured elsewhere."""

from dataclasses import replace

import pytest

from actors.generator.kind import resolve
from rl.plan.cards import card_of
from rl.plan.default_times import DefaultTimes, edit_flops, update_flops
from rl.plan.engine import tower_flops
from rl.plan.known_models import CRITICS, PIPELINES
from rl.plan.models import ModelSize, PipelineSize, model_size, pipeline_size
from rl.plan.stage_times import Work
from rl.plan.workload import Workload, workload_of
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe

MODEL = ModelSize("8B", CRITICS["Qwen3-VL-8B"], "here")
KLEIN = PipelineSize("9B", PIPELINES["FLUX.2-klein-9B"], "here")
RELEASED = Workload(16, 8, 2120, 400, 2**20, 0.6)


def critic(*overrides):
    return load_recipe(REPO / "recipes" / "critic_grpo.yaml", list(overrides))


def means(recipe, card="H100", step=RELEASED):
    times = DefaultTimes(MODEL, KLEIN, card and card_of(card), step)
    return {work: spread.mean for work, spread in times.stages(recipe).spreads.items()}


def test_operations_are_those_that_were_counted_by_hand():
    assert tower_flops(MODEL, RELEASED) == pytest.approx(5.45e12, rel=0.01)
    assert edit_flops(KLEIN.transformer, 2**20, 4, resolve(critic().generator)) == pytest.approx(0.64e15, rel=0.02)
    # Of rows by themselves: text 19.0, head 1.2 and vision 5.6 PFLOP, checkpointed layers twice; here the head, too.
    plain = update_flops(critic("policy.shared_prefix=false"), MODEL, RELEASED)
    assert plain == pytest.approx(25.8e15, rel=0.1)
    assert RELEASED.trained_tokens == 85_120
    assert update_flops(critic(), MODEL, RELEASED) < plain / 3


def test_an_image_takes_what_was_measured_on_an_h200():
    assert means(critic(), "H200")[Work.GENERATE] == pytest.approx(1 / 0.68, rel=0.05)


def test_faster_cards_and_more_of_them_take_less():
    base = means(critic("policy.num_ranks=4"))
    assert means(critic("policy.num_ranks=8"))[Work.UPDATE] == pytest.approx(base[Work.UPDATE] / 2)
    assert means(critic("samplers.num_samplers=4"))[Work.SAMPLE] < base[Work.SAMPLE]
    slow = means(critic("policy.num_ranks=4"), "A100")
    assert all(slow[work] > base[work] for work in (Work.SAMPLE, Work.GENERATE, Work.UPDATE))


def test_adapters_and_frozen_towers_take_less_and_a_reference_more():
    base = means(critic())[Work.UPDATE]
    assert means(critic("policy.lora.rank=32"))[Work.UPDATE] < base
    assert means(critic("policy.freeze_vision=true"))[Work.UPDATE] < base
    assert means(critic("policy.kept_activations=1"))[Work.UPDATE] < base
    assert means(critic("algorithm.loss.kl_coef=0.001"))[Work.UPDATE] > base


def test_everything_on_cpus_shares_its_cores():
    recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml")
    model = model_size(recipe.policy.model)
    assert model is not None
    step = workload_of(recipe, model)
    times = DefaultTimes(model, pipeline_size(recipe.generator.model), None, step)
    stages = times.stages(recipe)
    # The demo's update of 24 groups of 8 takes 1.9 s on two idle cores (benchmarks/RESULTS.md).
    assert stages.spreads[Work.UPDATE].mean == pytest.approx(1.9, rel=0.15)
    assert stages.core_seconds > 2 * stages.spreads[Work.UPDATE].mean
    larger = replace(times, model=MODEL)
    assert larger.stages(recipe).spreads[Work.UPDATE].mean > 1000 * stages.spreads[Work.UPDATE].mean
    assert times.stages(critic()).core_seconds == 0


def test_a_generator_of_the_users_own_is_waited_for_and_said_to_be_unknown():
    recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml", ["generator.name=", "generator.kind=my_module:Mine"])
    model = model_size(recipe.policy.model)
    assert model is not None
    stages = DefaultTimes(model, None, None, workload_of(recipe, model)).stages(recipe)
    assert (stages.spreads[Work.GENERATE].mean, stages.sources["generator"]) == (20.0, "not known: as an API's")
    assert stages.sources["policy"] == "documented defaults"
    assert 0 < stages.core_seconds < 100, "that of 115 images alone would be 2,300"


def test_a_workload_is_what_the_recipe_says():
    recipe = critic("rollout.success_share=0.25")
    step = workload_of(recipe, MODEL, failed_share=0.9)
    assert step.edited_share == 0.75, "the recipe's share goes before that of the records"
    assert workload_of(critic(), MODEL, failed_share=0.9).edited_share == 0.9
    assert workload_of(critic("rollout.regenerate=always"), MODEL).edited_share == 1.0
    assert 2100 < step.prompt_tokens < 2500
    assert (step.groups, step.n, step.image_pixels) == (16, 8, 2**20)
    shapes = load_recipe(REPO / "recipes" / "shapes_grpo.yaml")
    assert workload_of(shapes, model_size(shapes.policy.model)).image_pixels == 64 * 64
