"""What bounds the samples in flight, read from recipes."""

from dataclasses import replace

import pytest

from actors.config import EndpointConfig, GeneratorConfig, JudgeConfig
from rl.plan.rules import Rules, rules_of
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe
from tests.support.training import make_recipe


def test_the_released_recipe():
    assert rules_of(load_recipe(REPO / "recipes/critic_grpo.yaml", ["max_staleness=0"])) == Rules(
        groups_per_step=16,
        n=8,
        groups_in_flight=64,
        sampler_places=256,
        generator_places=4,
        batch_size=8,
        judge_places=32,
        judge_calls=2,
    )


def test_the_shapes_recipe():
    rules = rules_of(load_recipe(REPO / "recipes/shapes_grpo.yaml", ["max_staleness=0"]))
    assert (rules.groups_per_step, rules.groups_in_flight, rules.sampler_places) == (24, 32, 128)
    assert (rules.generator_places, rules.judge_places, rules.judge_calls) == (1, 32, 1)


@pytest.mark.parametrize(
    ("generator", "places", "batch_size"),
    [
        (GeneratorConfig(pipeline="Flux2KleinPipeline", model="m", num_replicas=3, max_batch_size=4), 3, 4),
        (GeneratorConfig(pipeline="Flux2KleinPipeline", model="m", batch_invariant=True), 1, 1),
        (GeneratorConfig(kind="my.module:Mine", num_replicas=3, max_concurrency=5), 15, 1),
        (GeneratorConfig(kind="images", model="m", base_url="http://here/v1", num_replicas=3, max_concurrency=5), 5, 1),
        (
            GeneratorConfig(
                kind="images", model="m", endpoints=[EndpointConfig("http://a/v1"), EndpointConfig("http://b/v1")]
            ),
            32,
            1,
        ),
    ],
)
def test_edits_at_a_time(tmp_path, generator, places, batch_size):
    rules = rules_of(make_recipe(tmp_path, generator=generator))
    assert (rules.generator_places, rules.batch_size) == (places, batch_size)


OPENAI = JudgeConfig(kind="openai", model="m", max_concurrency=10)


@pytest.mark.parametrize(
    ("judge", "places", "calls"),
    [
        (JudgeConfig(scorer="s", num_replicas=2, max_concurrency=10), 20, 1),
        (OPENAI, 10, 2),
        (replace(OPENAI, repeats=3, call={"temperature": 0.7}), 10, 6),
        (replace(OPENAI, endpoints=[EndpointConfig("http://a/v1"), EndpointConfig("http://b/v1")]), 20, 2),
        (JudgeConfig(kind="vllm", model="m", num_replicas=2, max_concurrency=10), 20, 2),
        (
            JudgeConfig(
                kind="ensemble",
                members=[{"kind": "openai", "model": "m", "max_concurrency": 10}, {"kind": "embedded", "scorer": "s"}],
            ),
            42,
            3,
        ),
    ],
)
def test_calls_of_the_judge(tmp_path, judge, places, calls):
    rules = rules_of(make_recipe(tmp_path, judge=judge, generator=GeneratorConfig(model="m")))
    assert (rules.judge_places, rules.judge_calls) == (places, calls)
