"""The rubric judge over a fake asker: both rubrics, repeats with their spread, two attempts side by side."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from actors.config import JudgeConfig
from actors.judge.judge import start_judge
from actors.judge.prompt_file import Prompt
from actors.judge.prompts import RubricPrompts
from actors.judge.rubric import RubricJudge, is_swapped
from rollout.roles import BudgetSpent, JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores
from tests.support.fake_asker import ByImage, FakeAsker, broke, failing, is_about_quality

PROMPTS = RubricPrompts.read(JudgeConfig())
EDITED = ScoreRequest("before", "after", "add a red box")
PAIR = CompareRequest("before", "old", "new", "add a red box")


def judge(reply, repeats=1):
    return RubricJudge(FakeAsker(reply), PROMPTS, repeats)


def test_our_prompts_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RubricPrompts.read(JudgeConfig()) == PROMPTS


def test_two_questions_of_which_the_smaller_scores_count():
    it = judge(ByImage({"after": 4.0}, quality=7.0))
    assert asyncio.run(it.score(EDITED)) == Scores(4.0, 7.0, "seen | seen")
    assert sorted(question.images for question in it.asker.asked) == [("after",), ("before", "after")]
    assert sum("add a red box" in question.text for question in it.asker.asked) == 1


def test_a_drawn_image_has_none_before():
    it = judge(ByImage({"after": 4.0}))
    asyncio.run(it.score(ScoreRequest(None, "after", "a red box")))
    assert [question.images for question in it.asker.asked] == [("after",), ("after",)]
    assert "There is no image before" in it.asker.asked[0].text


def test_repeats_are_asked_apart_averaged_and_their_spread_told():
    semantics = (2.0, 4.0, 9.0)

    def reply(question):
        score = 6.0 if is_about_quality(question) else semantics[question.repeat]
        return {"scores": [score, 10.0], "reasoning": f"look {question.repeat}"}

    it = judge(reply, repeats=3)
    scores = asyncio.run(it.score(EDITED))
    # means of the looks: 4, 5, 7.5, with mean 5.5 and squared distances 2.25, 0.25, 4
    assert (scores.semantics, scores.quality) == (5.0, 6.0)
    assert scores.spread == pytest.approx((6.5 / 3) ** 0.5)
    assert scores.reason == "look 0 | look 0 || look 1 | look 1 || look 2 | look 2"
    assert Counter(question.repeat for question in it.asker.asked) == {0: 2, 1: 2, 2: 2}


def test_one_answer_has_no_spread():
    assert asyncio.run(judge(ByImage({"after": 4.0})).score(EDITED)).spread == 0.0


def test_a_comparison_shows_both_in_one_question_for_each_rubric():
    it = judge(ByImage({"old": 3.0, "new": 9.0}))
    old, new = asyncio.run(it.compare(PAIR))
    assert (old.semantics, new.semantics) == (3.0, 9.0)
    assert (old.quality, new.quality) == (8.0, 8.0)
    assert [question.form for question in it.asker.asked] == ["pair", "pair"]
    assert sorted(len(question.images) for question in it.asker.asked) == [2, 3]


def test_a_drawn_comparison_shows_two_images():
    it = judge(ByImage({"old": 3.0, "new": 9.0}))
    old, new = asyncio.run(it.compare(CompareRequest(None, "old", "new", "a red box")))
    assert (old.semantics, new.semantics) == (3.0, 9.0)
    assert [len(question.images) for question in it.asker.asked] == [2, 2]


@pytest.mark.parametrize("instruction", ["a red box", "a blue box", "a green box", "a circle"])
def test_the_places_change_with_each_repeat_and_are_undone(instruction):
    it = judge(ByImage({"old": 3.0, "new": 9.0}), repeats=4)
    old, new = asyncio.run(it.compare(CompareRequest("before", "old", "new", instruction)))
    assert (old.semantics, new.semantics, old.spread, new.spread) == (3.0, 9.0, 0.0, 0.0)
    orders = {question.repeat: question.images[-2:] for question in it.asker.asked}
    assert {orders[0], orders[1]} == {("old", "new"), ("new", "old")}
    assert (orders[2], orders[3]) == (orders[0], orders[1])


def test_over_tasks_each_attempt_is_first_half_of_the_time_and_within_a_task_the_same():
    def first(task, new="new"):
        return is_swapped(CompareRequest(None, f"sha256:{task}", new, "x"), 0)

    assert 400 < sum(first(task) for task in range(1000)) < 600
    assert all(first(task) == first(task, new="another") for task in range(20))


def test_a_judge_that_favours_the_first_place_favours_neither_attempt_over_repeats():
    def biased(question):
        return {"first": [8.0, 8.0], "second": [4.0, 4.0], "reasoning": "the first"}

    old, new = asyncio.run(judge(biased, repeats=2).compare(PAIR))
    assert old.mean == new.mean == 6.0
    assert old.spread == new.spread == 2.0


def test_a_failed_question_is_a_judge_error_and_the_other_answer_is_kept():
    def half(question):
        return failing(question) if is_about_quality(question) else {"scores": [1.0, 2.0], "reasoning": ""}

    it = judge(half)
    with pytest.raises(JudgeError, match="timeout: no answer in time"):
        asyncio.run(it.score(EDITED))
    assert len(it.asker.paid) == 1


def test_a_spent_budget_is_not_taken_for_a_failure():
    def reply(question):
        return broke(question) if is_about_quality(question) else failing(question)

    for call in (judge(reply).score(EDITED), judge(reply).compare(PAIR)):
        with pytest.raises(BudgetSpent):
            asyncio.run(call)


def test_the_prompts_state_their_versions_and_none_is_asked():
    for prompt in (PROMPTS.semantics, PROMPTS.quality, PROMPTS.semantics_pair, PROMPTS.quality_pair):
        assert prompt.version == "1"
        assert "version" not in prompt.text
        assert prompt.label.startswith(f"{prompt.name}@1:")


def test_another_wording_has_another_label():
    assert Prompt("mine", "1", "Judge it.").label != Prompt("mine", "1", "Judge that.").label


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("semantics_rubric", "{images}", r"needs \{instruction\} once, found 0"),
        ("semantics_rubric", "{images} {instruction} {instruction}", r"needs \{instruction\} once, found 2"),
        ("semantics_rubric", "<image> {images} {instruction}", "needs 0 <image> marks, found 1"),
        ("quality_rubric", "How good is it?", "needs 1 <image> marks, found 0"),
        ("quality_pair_rubric", "<image>", "needs 2 <image> marks, found 1"),
        ("semantics_pair_rubric", None, "no prompt file .*mine.txt"),
    ],
)
def test_a_prompt_file_that_cannot_be_asked_is_said_at_the_start(tmp_path, key, text, message):
    path = tmp_path / "mine.txt"
    if text is not None:
        path.write_text(text)
    prompt: dict[str, Any] = {key: str(path)}
    config = JudgeConfig(kind="openai", model="m", num_replicas=0, **prompt)
    with pytest.raises(ValueError, match=message):
        asyncio.run(start_judge(config, tmp_path))
