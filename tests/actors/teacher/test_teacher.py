"""Teachers of plans and critiques: functions of ours, and models that are asked through a fake endpoint."""

import asyncio
from typing import Any

import pytest
from PIL import Image

from actors.store.store import Store
from actors.teacher.config import TeacherConfig
from actors.teacher.teacher import AskedTeacher, FunctionTeacher, check_teacher, describe_teacher, read_template
from rollout.roles import TeacherError
from rollout.text.critique import parse_critique
from rollout.text.plan import Plan, PlanStep, parse_plan
from rollout.types import Attempt, Critique, Request
from tests.support.fake_asker import FakeAsker, failing

CRITIC = TeacherConfig(prompt="recipes/prompts/critic.txt", fn="recipes.shapes.teacher.critique")
PLANNER = TeacherConfig(prompt="recipes/prompts/planner.txt", fn="recipes.shapes.teacher.plan")


def attempt(store: Store, before: str | None = None) -> Attempt:
    after = store.put_image(Image.new("RGB", (8, 6), "red"))
    return Attempt(1, 1, "a red box", "a ruby box", 1, before, image=after)


def test_a_function_sees_texts_and_pictures_and_may_answer_with_objects(tmp_path):
    store = Store(tmp_path)
    seen: list[Any] = []

    def plan(request, images, seed):
        seen.append((request, [image.size for image in images], seed))
        return Plan((PlanStep(1, "a", "b", "c"),))

    def critique(before, after, instruction, prompt, seed):
        seen.append((before, after.size, instruction, prompt, seed))
        return Critique(True, prompt, "I look")

    image = store.put_image(Image.new("RGB", (4, 4)))
    assert parse_plan(asyncio.run(FunctionTeacher(plan, store).plan(Request("a box", (image,)), 7)).text).steps
    said = asyncio.run(FunctionTeacher(critique, store).criticise(attempt(store), 8))
    assert parse_critique(said.text) == Critique(True, "a ruby box", "I look")
    assert seen == [("a box", [(4, 4)], 7), (None, (8, 6), "a red box", "a ruby box", 8)]


@pytest.mark.parametrize("answer", [None, 7, ValueError("no such place")])
def test_a_function_that_fails_is_no_answer(tmp_path, answer):
    def plan(request, images, seed):
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(TeacherError, match=r"no such place|expected a text"):
        asyncio.run(FunctionTeacher(plan, Store(tmp_path)).plan(Request("a box"), 7))


def test_a_model_is_asked_what_its_records_will_ask(tmp_path):
    store = Store(tmp_path)
    asker: Any = FakeAsker(lambda question: {"text": question.system[:11]})
    planner = AskedTeacher(asker, read_template(PLANNER, "planner").text, store)
    critic = AskedTeacher(asker, read_template(CRITIC, "critic").text, store)
    image = store.put_image(Image.new("RGB", (4, 4)))
    assert asyncio.run(planner.plan(Request("go on", (image,)), 7)).text == "You are an "
    asyncio.run(critic.criticise(attempt(store), 8))
    asyncio.run(critic.criticise(attempt(store), 9))
    asyncio.run(critic.criticise(attempt(store), 9, repeat=1))
    asked = asker.asked
    assert asked[0].text.startswith("The request: <image>go on\n")
    assert (asked[0].images, asked[0].form) == ((image,), "text")
    assert "The prompt that was used: a ruby box" in asked[1].text
    canvas = store.get_image(asked[1].images[0])
    assert (canvas.size, canvas.getpixel((0, 0))) == ((8, 6), (255, 255, 255))
    assert len(asker.paid) == 3
    assert [question.repeat for question in asked] == [0, 0, 0, 1]


def test_a_model_that_does_not_answer_is_a_teachers_error(tmp_path):
    asker: Any = FakeAsker(failing)
    with pytest.raises(TeacherError, match="timeout: no answer in time"):
        asyncio.run(AskedTeacher(asker, "{request}", Store(tmp_path)).plan(Request("a box"), 0))


def test_a_function_whose_file_cannot_be_imported_is_named(tmp_path):
    (tmp_path / "mine.py").write_text("def plan(:\n")
    mine = TeacherConfig(prompt="recipes/prompts/planner.txt", fn=f"{tmp_path}/mine.py:plan")
    with pytest.raises(ValueError, match=r"^a teacher's fn is .*: its module raised SyntaxError: .*mine\.py:1\)$"):
        check_teacher(mine, "planner")


def test_what_a_teacher_lacks_is_said_before_it_is_started(monkeypatch):
    assert describe_teacher(PLANNER, "planner")["fn"].startswith("recipes.shapes.teacher.plan@")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    asked = TeacherConfig(prompt="recipes/prompts/planner.txt")
    with pytest.raises(ValueError, match="teacher planner needs fn"):
        check_teacher(asked, "planner")
    asked = TeacherConfig(prompt="recipes/prompts/planner.txt", ask=asked.ask.__class__(kind="openai", model="gpt-4.1"))
    with pytest.raises(ValueError, match="key is missing"):
        check_teacher(asked, "planner")
    with pytest.raises(ValueError, match=r"ask\.kind is 'embedded'"):
        TeacherConfig(prompt="x", ask=asked.ask.__class__(scorer="a.b"))
