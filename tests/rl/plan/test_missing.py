"""What is not here, and what is wrong."""

import pytest

from rl.plan.cards import card_of
from rl.plan.devices import Devices
from rl.plan.missing import check_recipe, missing
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe

DEVICES = Devices(1, 8, card_of("H100"), 16, is_simulated=True)


@pytest.fixture(autouse=True)
def nothing_here(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def critic(*overrides):
    return load_recipe(REPO / "recipes" / "critic_grpo.yaml", ["policy.num_ranks=4", *overrides])


def found(*overrides):
    return {one.key: one for one in missing(critic(*overrides), DEVICES)}


def test_what_is_missing_is_named_and_what_stops_a_run_is_told_apart():
    listed = found()
    assert [key for key, one in listed.items() if one.is_needed] == [
        "data.train",
        "data.heldout",
        "judge.api_key_env",
    ]
    assert "data/critic_rl.jsonl" in str(listed["data.train"])
    assert "OPENAI_API_KEY" in str(listed["judge.api_key_env"])
    assert "Qwen/Qwen3-VL-8B-Instruct" in str(listed["policy.model"])
    assert "black-forest-labs/FLUX.2-klein-9B" in str(listed["generator.model"])


def test_data_that_are_missing_are_named_by_where_they_were_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(found("data.train=mine.jsonl")["data.train"]).endswith(f"not there: looked for {tmp_path}/mine.jsonl")
    (tmp_path / "mine.jsonl").touch()
    assert "data.train" not in found("data.train=mine.jsonl")


def test_a_key_that_is_set_is_not_missing_and_never_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert "judge.api_key_env" not in found()
    monkeypatch.setenv("OPENAI_API_KEY", "'sk-secret'")
    listed = found()
    assert "quotation marks" in str(listed["judge.api_key_env"])
    assert not any("sk-secret" in str(one) for one in listed.values())


def test_each_key_of_endpoints_is_looked_for():
    listed = found("judge.endpoints=[{api_key_env: FIRST_KEY}, {api_key_env: FIRST_KEY}]")
    assert "FIRST_KEY" in str(listed["judge.api_key_env"])
    assert "GEMINI_API_KEY" in str(
        found("generator.name=nano-banana-pro", "generator.gpus_per_replica=0")["generator.api_key_env"]
    )


def test_models_are_needed_where_nothing_may_be_downloaded(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert found()["policy.model"].is_needed


def test_flash_attention_is_needed_without_a_shared_prefix(monkeypatch):
    monkeypatch.setattr("rl.plan.missing.find_spec", lambda name: None)
    assert not found()["policy.attn_implementation"].is_needed
    assert found("policy.shared_prefix=false")["policy.attn_implementation"].is_needed
    assert "policy.attn_implementation" not in found("policy.attn_implementation=sdpa")


def test_the_demo_lacks_nothing():
    recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml")
    check_recipe(recipe)
    assert missing(recipe, DEVICES) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["rollout.prompt=no/such.txt"], "rollout.prompt is no/such.txt: there is no such file"),
        (["policy.model=./no_model"], "policy.model is ./no_model: there is no such folder"),
        (["generator.call.num_inference_steps=0"], "num_inference_steps is 0"),
        (["judge.quality_rubric=no/such.txt"], "judge.quality_rubric is no/such.txt"),
        (["judge.kind=embedded", "judge.scorer=no.such.scorer", "~judge.model"], "judge.scorer is 'no.such.scorer'"),
        (["reward=[{fn: no.such.reward, weight: 1}]"], "reward term no.such.reward"),
        (["algorithm.loss.policy_loss=dro"], "cannot be used here"),
        (["num_cpus=3"], "policy.num_ranks=4 takes 4 of Ray's logical CPUs"),
    ],
)
def test_what_is_wrong_is_raised_as_training_would(overrides, words):
    with pytest.raises(ValueError, match=words):
        check_recipe(critic(*overrides))
