"""The check-list judge over a fake asker: questions once an instruction, answers for each picture."""

import asyncio

import pytest

from actors.config import JudgeConfig
from actors.judge.checklist import ChecklistJudge
from actors.judge.prompts import ChecklistPrompts
from rollout.roles import BudgetSpent, JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores
from tests.support.fake_asker import ByImage, FakeAsker, broke, failing, is_about_quality

PROMPTS = ChecklistPrompts.read(JudgeConfig())


def judge(reply, **changes):
    return ChecklistJudge(FakeAsker(reply), PROMPTS, **changes)


def ask_all(it, *requests):
    async def scenario():
        return await asyncio.gather(*map(it.score, requests))

    return asyncio.run(scenario())


def test_semantics_is_ten_times_the_share_of_yes_and_quality_the_rubrics():
    [scores] = ask_all(judge(ByImage({"after": 7.5}, quality=6.0)), ScoreRequest("before", "after", "add a box"))
    assert scores == Scores(7.5, 6.0, "no: is it 4? (counted) | seen")


def test_the_questions_are_made_once_for_all_samples_of_an_instruction():
    images = {f"after-{number}": 5.0 for number in range(16)}
    it = judge(ByImage(images))
    ask_all(it, *(ScoreRequest("before", image, "add a box") for image in images))
    ask_all(it, ScoreRequest("before", "after-0", "add another box"))
    made = [question for question in it.asker.paid if question.form == "questions"]
    assert [question.images for question in made] == [(), ()]
    assert ["add a box" in question.text for question in made] == [True, False]
    answered = [question for question in it.asker.paid if question.form == "checklist"]
    assert len(answered) == 17
    assert all(question.size == 4 and "2. is it 2?" in question.text for question in answered)


def test_a_bound_on_the_questions_is_asked_for():
    it = judge(ByImage({"after": 10.0}), max_questions=3)
    [scores] = ask_all(it, ScoreRequest(None, "after", "a box"))
    assert (scores.semantics, scores.reason) == (10.0, "all answered yes (counted) | seen")
    asked = {question.form: question for question in it.asker.asked}
    assert (asked["questions"].size, asked["checklist"].size) == (3, 3)
    assert "1 to 3 questions" in asked["questions"].text
    assert asked["checklist"].images == ("after",)


def test_repeats_answer_the_same_questions_again():
    def reply(question):
        if question.form == "checklist":
            return {"answers": [True, question.repeat == 0], "reasoning": "looked"}
        if question.form == "questions":
            return {"questions": ["is it there?", "is it red?"]}
        return {"scores": [8.0, 8.0], "reasoning": "clean"}

    it = judge(reply, repeats=2)
    [scores] = ask_all(it, ScoreRequest(None, "after", "a red box"))
    # looks of (10 + 8) / 2 and (5 + 8) / 2
    assert (scores.semantics, scores.quality, scores.spread) == (7.5, 8.0, 1.25)
    assert "no: is it red?" in scores.reason
    assert sorted((question.form, question.repeat) for question in it.asker.asked) == [
        ("checklist", 0),
        ("checklist", 1),
        ("questions", 0),
        ("rubric", 0),
        ("rubric", 1),
    ]


def test_a_comparison_looks_at_each_with_the_same_questions():
    it = judge(ByImage({"old": 2.5, "new": 7.5}))
    old, new = asyncio.run(it.compare(CompareRequest("before", "old", "new", "add a box")))
    assert (old.semantics, new.semantics) == (2.5, 7.5)
    assert sum(question.form == "questions" for question in it.asker.paid) == 1


@pytest.mark.parametrize("form", ["questions", "checklist", "rubric"])
@pytest.mark.parametrize(("trouble", "error"), [(failing, JudgeError), (broke, BudgetSpent)])
def test_trouble_with_any_question_gives_no_scores(form, trouble, error):
    good = ByImage({"after": 5.0})
    it = judge(lambda question: trouble(question) if question.form == form else good(question))
    with pytest.raises(error):
        ask_all(it, ScoreRequest(None, "after", "a box"))
    if form == "checklist":
        assert any(map(is_about_quality, it.asker.paid))
