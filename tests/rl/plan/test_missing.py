"""What is not here, and what is wrong."""

import pytest

from rl.plan.cards import card_of
from rl.plan.devices import Devices
from rl.plan.missing import check_recipe, missing, not_tried
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe
from tests.support.record_files import rl_record, write_lines

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
    told = f"not there: looked for {tmp_path}/mine.jsonl and {REPO}/mine.jsonl"
    assert str(found("data.train=mine.jsonl")["data.train"]).endswith(told)
    (tmp_path / "mine.jsonl").touch()
    assert str(found("data.train=mine.jsonl")["data.train"]).endswith("mine.jsonl holds no record")


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
        (["judge.quality_rubric=no/such.txt"], "judge.quality_rubric: no prompt file no/such.txt"),
        (["judge.kind=embedded", "judge.scorer=no.such.scorer", "~judge.model"], "judge.scorer is 'no.such.scorer'"),
        (["reward=[{fn: no.such.reward, weight: 1}]"], "reward term no.such.reward"),
        (["algorithm.loss.policy_loss=dro"], "cannot be used here"),
        (["num_cpus=3"], "policy.num_ranks=4 takes 4 of Ray's logical CPUs"),
    ],
)
def test_what_is_wrong_is_raised_as_training_would(overrides, words):
    with pytest.raises(ValueError, match=words):
        check_recipe(critic(*overrides))


OWN = """
from rewards.needs import needs


class Judge:
    def __init__(self, size=1):
        if size > 9:
            raise RuntimeError("too large")

    def score(self, look): ...


class NoScore:
    pass


def plain(evidence):
    return 1.0


def two(evidence, x):
    return 1.0


@needs("red")
def needs_red(evidence):
    return 1.0


def estimator(groups):
    return groups
"""
RED = "reward=[{fn: ./my.py:needs_red, weight: 1}]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["reward=[{fn: rewards.stepwise.semantc_gain, weight: 1}]"],
            "rewards.stepwise.semantc_gain: .* has no",
        ),
        (
            ["reward=[{fn: ./my.py:brevitty, weight: 1}]"],
            r"my.py:brevitty: \S*my.py has no brevitty, only",
        ),
        (["reward=[{fn: ./my.py:Judge, weight: 1}]"], "is a class; name a function"),
        (["reward=[{fn: ./my.py:two, weight: 1}]"], r"takes \(evidence, x\); it is given the evidence alone"),
        (
            ["reward=[{fn: ./nofile.py:foo, weight: 1}]"],
            "^reward term ./nofile.py:foo: there is no file /[^:]*$",
        ),
        ([RED], "needs the evidence 'red', which the recipe does not gather"),
        ([RED, "evidence.red.fn=./my.py:nope"], r"evidence.red.fn \S*my.py:nope: .* has no nope, only"),
        ([RED, "evidence.red.kind=./my.py:NoScore"], "evidence.red.kind is .*: it has no method observe"),
        ([RED, "evidence.red.judge={kind: openai}"], "evidence.red: judge.model is not set"),
        (["judge.scorer=./my.py:nope"], "judge.scorer is './my.py:nope': .* has no nope, only"),
        (["judge.scorer=", "judge.kind=./my.py:NoScore"], "judge.kind is .*: it has no method score"),
        (["judge.scorer=", "judge.kind=./my.py:plain"], "plain is a function, expected a class"),
        (["judge.scorer=", "judge.kind=./my.py:Judg"], r"has no Judg; did you mean Judge\?"),
        (["judge.scorer=", "judge.kind=./my.py:Judge", "judge.options.sise=3"], "unexpected keyword argument 'sise'"),
        (["judge.scorer=", "judge.kind=./my.py:Judge", "judge.options.size=10"], "raised RuntimeError: too large"),
        (
            ["judge.scorer=", "judge.kind=my_juge:MyJudge"],
            "kind is 'my_juge:MyJudge': there is no module my_juge;",
        ),
        (["algorithm.advantage=./my.py:nope"], "algorithm.advantage is .*: .* has no nope, only"),
        (["algorithm.advantage=./my.py:estimator"], "algorithm.advantage .* needs groups, which we do not have"),
        (
            ["algorithm.advantage=gae"],
            "algorithm.advantage 'gae' asks for more than we have; expected one of grpo",
        ),
        ([RED, "evidence.red.judge={scorer: ./my.py:nope}"], "evidence.red: judge.scorer is .* has no nope, only"),
        (["evidence.idle.kind=./nofile.py:It"], "evidence.kind is './nofile.py:It': there is no file"),
        (["rollout.baseline=side_by_side"], "this judge .* looks at one image at a time"),
    ],
)
def test_what_the_user_wrote_is_looked_at_as_training_would(overrides, words, tmp_path, monkeypatch):
    """Slow: what is the user's own is imported in processes of its own."""
    (tmp_path / "my.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("shapes_grpo", overrides)
    with pytest.raises(ValueError, match=words):
        check_recipe(recipe)


def bad_data(tmp_path, **changes):
    """Return a recipe whose second training record is not as it should be."""
    records = [rl_record(0, is_success=True), rl_record(1, **changes)]
    write_lines(tmp_path / "bad.jsonl", records)
    return load_recipe("shapes_grpo", [f"data.train={tmp_path}/bad.jsonl"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluation": {"success": False, "semantics": -3, "quality": 5}}, "field semantics is -3, expected a number"),
        ({"evaluation": {"success": False, "semantics": 11, "quality": 5}}, "field semantics is 11, expected a number"),
        ({"edited_image_path": "https://a.b/x.png"}, "https://a.b/x.png.*fetch the image"),
    ],
)
def test_a_bad_record_is_told_as_training_would(changes, words, tmp_path):
    with pytest.raises(ValueError, match=f"bad.jsonl.*2.*{words}"):
        check_recipe(bad_data(tmp_path, **changes))


def test_an_image_that_is_not_here_is_missing_not_wrong(tmp_path):
    recipe = bad_data(tmp_path, edited_image_path="gone.png")
    check_recipe(recipe)
    [one] = missing(recipe, DEVICES)
    assert one.is_needed
    assert one.key == "data.train"
    assert "bad.jsonl" in one.text
    assert one.text.endswith(f"there is no image at {tmp_path}/gone.png")


def test_what_is_not_tried_is_said():
    said = not_tried(critic())
    assert said.startswith("not tried: rewards on samples (interleave reward test), records after the first 500 (")
    assert "what is in images (interleave data check --deep)" in said
    assert "endpoints answer (interleave doctor --ask)" in said
    assert "reward test" not in not_tried(critic("reward.probe=false"))
    assert "endpoints" not in not_tried(load_recipe("shapes_grpo"))
    own = "code of your own, or a scorer"
    assert own not in said
    assert own in not_tried(load_recipe("shapes_grpo"))
    assert own not in not_tried(load_recipe("shapes_grpo"), is_own_tried=True)
