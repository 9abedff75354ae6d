"""How often services are asked, and what that costs."""

import pytest

from rl.plan.cost import ANSWER_TOKENS, IMAGE_TOKENS, RUBRIC_TOKENS, calls_of, evaluation_samples
from rl.plan.workload import Workload
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe

WORK = Workload(16, 8, 2300, 400, 2**20, 0.5)


def calls(*overrides, num_heldout=0):
    recipe = load_recipe(REPO / "recipes" / "critic_grpo.yaml", ["num_steps=100", "evaluation.every=0", *overrides])
    return {one.service: one for one in calls_of(recipe, WORK, num_heldout)}


def test_each_try_is_an_image_and_two_questions():
    found = calls("evaluation.num_tasks=10", "evaluation.num_seeds=2")
    assert found["generator"].per_step == 64
    assert found["judge"].per_step == 128
    evaluated = 2 * 2 * 10 * 0.5
    assert found["generator"].per_run == 100 * 64 + evaluated
    assert not found["judge"].is_priced


def test_dollars_are_the_recipes_prices_times_tokens():
    prices = ["judge.usd_per_million_input_tokens=2", "judge.usd_per_million_output_tokens=8"]
    found = calls(*prices)["judge"]
    assert found.usd_per_call == pytest.approx(((RUBRIC_TOKENS + 1.5 * IMAGE_TOKENS) * 2 + ANSWER_TOKENS * 8) / 1e6)
    assert found.usd_per_step == pytest.approx(128 * found.usd_per_call)
    assert found.is_priced
    other = "{usd_per_million_input_tokens: 0, usd_per_million_output_tokens: 0}"
    mine = "{usd_per_million_input_tokens: 2, usd_per_million_output_tokens: 8}"
    assert calls(f"judge.endpoints=[{mine}, {other}]")["judge"].usd_per_call == pytest.approx(found.usd_per_call / 2)


def test_only_what_is_paid_for_lacks_a_price():
    found = calls()
    assert found["generator"].missing_price == ""
    assert found["judge"].missing_price == "judge.usd_per_million_input_tokens and ..._output_tokens"
    assert calls("judge.usd_per_million_output_tokens=8")["judge"].missing_price == ""
    assert calls("judge.endpoints=[{}]")["judge"].missing_price.startswith("judge.endpoints.0.usd_per_million_")
    assert calls("judge.kind=vllm", "judge.api_key_env=OPENAI_API_KEY")["judge"].missing_price == ""
    images = ["generator.name=gpt-image", "generator.gpus_per_replica=0"]
    assert calls(*images)["generator"].missing_price == "generator.usd_per_image"
    assert calls(*images, "generator.usd_per_image=0.04")["generator"].missing_price == ""


def test_a_budget_lasts_for_so_many_steps():
    assert calls()["judge"].budget_steps is None
    assert calls("judge.budget_calls=1280")["judge"].budget_steps == 10
    prices = ["judge.usd_per_million_input_tokens=2", "judge.usd_per_million_output_tokens=8"]
    found = calls(*prices, "judge.budget_usd=1", "judge.budget_calls=1000000")["judge"]
    assert found.budget_steps == pytest.approx(1 / found.usd_per_step)


def test_images_of_an_api_have_their_price():
    assert not calls()["generator"].is_priced
    found = calls("generator.name=gpt-image", "generator.usd_per_image=0.04", "generator.gpus_per_replica=0")
    assert found["generator"].is_priced
    assert found["generator"].usd_per_step == pytest.approx(64 * 0.04)


def test_the_recorded_attempt_is_judged_once_a_task_where_it_is_the_baseline():
    assert calls("rollout.baseline=judge")["judge"].per_step == 2 * (64 + 8)


def test_members_of_an_ensemble_are_asked_each():
    members = "[{kind: openai, model: a}, {kind: openai, model: b, repeats: 3, call: {temperature: 0.7}}]"
    found = calls("judge.kind=ensemble", f"judge.members={members}", "~judge.model", "~judge.api_key_env")
    assert found["judge.members.0"].per_step == 128
    assert found["judge.members.1"].per_step == 384


def test_evaluations_are_no_larger_than_what_is_held_out():
    recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml")  # all held-out tasks, and 64 at every 25th of 50 steps
    assert evaluation_samples(recipe, 448) == 2 * (2 * 448 + 64)
    assert evaluation_samples(recipe, 10) == 2 * (2 * 10 + 10)
    assert evaluation_samples(recipe, 0) == 2 * (2 * 64 + 64), "where they are not here, as many as the recipe names"
