"""Evidence beside the judge's scores: what is asked for, seen once, and what a failure becomes."""

import asyncio

import pytest
from PIL import Image

from actors.config import EvidenceConfig, JudgeConfig
from actors.observer import check_evidence, start_observers
from actors.store.store import Store
from rewards.signature import RewardSignature
from rl.check_reward import idle_evidence, needed_evidence
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe
from rollout.roles import JudgeError
from rollout.types import ScoreRequest, Scores

pytestmark = pytest.mark.slow  # real processes that hang for real seconds until they are killed


def fair(before, after, instruction):
    return Scores(5, 6, "so so")


LOOKS = "tests.support.foreign_looks"


def observe(tmp_path, config, *instructions):
    after = Store(tmp_path).put_image(Image.new("RGB", (8, 4), "red"))

    async def scenario():
        observers = await start_observers({"it": config}, tmp_path, "test", None)
        requests = [ScoreRequest(None, after, instruction) for instruction in instructions]
        return await asyncio.gather(*map(observers["it"].observe, requests)), await observers["it"].stats()

    return asyncio.run(scenario())


def by(function, **settings) -> EvidenceConfig:
    return EvidenceConfig(fn=f"{LOOKS}.{function}", num_replicas=0, **settings)


def test_a_function_sees_each_picture_once_and_its_answer_is_what_json_makes_of_it(tmp_path):
    answers, stats = observe(tmp_path, by("redness"), "a", "a", "b")
    assert answers == [{"red": 1.0, "size": [8, 4]}] * 3
    assert stats["evidence/it/attempts"] == 2
    again, stats = observe(tmp_path, by("redness"), "a")
    assert (again, stats.get("evidence/it/attempts", 0)) == ([{"red": 1.0, "size": [8, 4]}], 0), (
        "the same from the cache"
    )


def test_a_function_that_hangs_is_killed_and_the_next_picture_is_looked_at(tmp_path):
    hung = r"evidence tests\.support\.foreign_looks\.stuck: hung: no answer within 0\.3 s"
    with pytest.raises(JudgeError, match=hung):
        observe(tmp_path, by("stuck", timeout_s=0.3), "hang")
    assert observe(tmp_path, by("stuck", timeout_s=5), "look")[0] == [1.0]


def test_a_second_judge_gives_its_scores(tmp_path):
    config = EvidenceConfig(judge=JudgeConfig(scorer=f"{__name__}.fair", num_replicas=0))
    answers, stats = observe(tmp_path, config, "a")
    assert answers == [Scores(5, 6, "so so")]
    assert stats["evidence/it/calls"] == 1


@pytest.mark.parametrize(
    ("function", "message"),
    [("broken", "raised ZeroDivisionError: by nought"), ("unwritable", "holds a Image, which JSON cannot")],
)
def test_a_function_that_fails_gives_no_evidence(tmp_path, function, message):
    with pytest.raises(JudgeError, match=rf"evidence {LOOKS}\.{function}: .*{message}"):
        observe(tmp_path, by(function), "a")


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (f"{LOOKS}.nothing", "has no nothing"),
        (f"{LOOKS}.of_one", r"takes \(after\); it is given \(before, after, instruction\)"),
        (f"{LOOKS}.patient", "is async"),
        ("./nowhere.py:f", "there is no file"),
    ],
)
def test_a_function_that_cannot_be_used_is_said_before_anything_starts(fn, message):
    with pytest.raises(ValueError, match=rf"evidence\.it\.fn .*{message}"):
        check_evidence("it", EvidenceConfig(fn=fn))


def test_a_second_judge_without_its_key_is_said_before_anything_starts(monkeypatch):
    monkeypatch.delenv("SECOND_KEY", raising=False)
    settings = [
        "reward=[{fn: tests.support.foreign_rewards.beauty, weight: 1}]",
        "evidence.aesthetic.judge={kind: openai, model: gpt-4.1, api_key_env: SECOND_KEY}",
    ]
    chosen = load_recipe(REPO / "recipes" / "critic_grpo.yaml", settings)
    with pytest.raises(ValueError, match=r"^evidence\.aesthetic: .*SECOND_KEY"):
        needed_evidence(chosen, TRAITS)


def recipe(**evidence):
    settings = [f"evidence.{name}.fn={LOOKS}.{fn}" for name, fn in evidence.items()]
    term = "{fn: tests.support.foreign_rewards.beauty, weight: 1}"
    return load_recipe(REPO / "recipes" / "critic_grpo.yaml", [f"reward=[{term}]", *settings])


TRAITS = {"beauty": RewardSignature(False, ("aesthetic",))}


def test_what_a_term_needs_is_gathered_and_nothing_else():
    chosen = recipe(aesthetic="redness", ocr="broken")
    needed = needed_evidence(chosen, TRAITS)
    assert list(needed) == ["aesthetic"]
    assert idle_evidence(chosen, needed).startswith("evidence ocr is not gathered: no term of the reward needs it")
    assert idle_evidence(recipe(aesthetic="redness"), needed) == ""


@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        ({}, "beauty needs the evidence 'aesthetic', which the recipe does not gather; add"),
        ({"aesthetics": "redness"}, "did you mean aesthetics"),
        ({"aesthetic": "nothing"}, r"evidence\.aesthetic\.fn .* has no nothing"),
    ],
)
def test_a_need_that_the_recipe_does_not_meet_is_said(evidence, message):
    with pytest.raises(ValueError, match=message):
        needed_evidence(recipe(**evidence), TRAITS)


def test_evidence_is_either_a_function_or_a_judge():
    both = ["evidence.it.fn=x.y", "evidence.it.judge.kind=embedded"]
    for settings in (both, ["evidence.it.timeout_s=3"]):
        with pytest.raises(ValueError, match=r"evidence\.it: give either fn .* or judge"):
            load_recipe(REPO / "recipes" / "critic_grpo.yaml", settings)
