"""What a resumed run may be given anew."""

from dataclasses import replace

from actors.config import EndpointConfig, GeneratorConfig, JudgeConfig
from rl.config import RolloutConfig, TrackingConfig
from rl.resume import forbidden_changes
from tests.test_train import make_recipe

JUDGE = JudgeConfig(kind="openai", model="judge-1")


def changed(tmp_path, **changes):
    return forbidden_changes(make_recipe(tmp_path, judge=JUDGE), make_recipe(tmp_path, **{"judge": JUDGE} | changes))


def test_who_is_asked_and_for_how_much_may_change(tmp_path):
    endpoints = [
        EndpointConfig("http://other/v1", "OTHER_KEY", usd_per_million_input_tokens=2.0),
        EndpointConfig(usd_per_million_input_tokens=3.0),
    ]
    judge = replace(JUDGE, endpoints=endpoints, budget_calls=5, budget_usd=2.0, max_concurrency=3, timeout_s=9.0)
    assert changed(tmp_path, judge=judge, generator=GeneratorConfig(num_replicas=3)) == []
    again = replace(judge, endpoints=[replace(endpoints[0], requests_per_minute=60), endpoints[1]])
    assert forbidden_changes(make_recipe(tmp_path, judge=judge), make_recipe(tmp_path, judge=again)) == []
    dearer = replace(JUDGE, usd_per_million_input_tokens=2.0, usd_per_million_output_tokens=8.0)
    assert changed(tmp_path, judge=dearer) == []
    assert changed(tmp_path, num_steps=99, tracking=TrackingConfig(project="other")) == []


def test_what_is_learned_may_not(tmp_path):
    assert changed(tmp_path, rollout=RolloutConfig(groups_per_step=4, n=4)) == ["rollout.n"]
    assert changed(tmp_path, judge=replace(JUDGE, model="judge-2", call={"temperature": 1})) == [
        "judge.call.temperature",
        "judge.model",
    ]
    assert changed(tmp_path, generator=GeneratorConfig(height=8)) == ["generator.height"]
