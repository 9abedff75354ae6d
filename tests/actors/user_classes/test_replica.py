"""What a class of the user's own is told of by, where it fails: its name, its method, its own line."""

import asyncio
import re

import pytest
from PIL import Image

from actors.config import EvidenceConfig, GeneratorConfig, JudgeConfig
from actors.generator.generator import Generator
from actors.judge.judge import start_judge
from actors.observer import start_observers
from actors.store.store import Store
from actors.teacher.config import TeacherConfig
from actors.teacher.teacher import start_teacher
from rollout.types import CompareRequest, EditRequest, Request, ScoreRequest
from tests.support.unsayable import HALF_TOLD

MINE = """
from PIL import Image
from rollout.types import Scores
from tests.support.unsayable import HALF, UnsayableError


def fail(error):
    raise error


class Answers:
    def __init__(self, answer="Scores(1, 2)"):
        self.answer = answer

    def score(self, look):
        return eval(self.answer)

    compare = score

    def edit(self, edit):
        return eval(self.answer)

    def observe(self, look):
        return eval(self.answer)

    def plan(self, question, seed):
        return eval(self.answer)
"""


@pytest.fixture
def ask(tmp_path):
    """`ask(what, answer)`: what is said where a class's method evaluates `answer`."""
    (tmp_path / "mine.py").write_text(MINE)
    kind, store = f"{tmp_path}/mine.py:Answers", Store(tmp_path / "store")
    image = store.put_image(Image.new("RGB", (8, 8), "red"))
    look = ScoreRequest(None, image, "a box")

    async def asked(what, answer, look):
        image = look.after
        options = {"answer": answer}
        if what in ("score", "compare"):
            judge = await start_judge(JudgeConfig(kind=kind, num_replicas=0, options=options), store.root)
            await (judge.score(look) if what == "score" else judge.compare(CompareRequest(None, image, image, "a box")))
        elif what == "edit":
            config = GeneratorConfig(kind=kind, num_replicas=0, options=options)
            await (await Generator.start(config, store.root)).edit(EditRequest(image, "a box", 1))
        elif what == "observe":
            evidence = {"it": EvidenceConfig(kind=kind, num_replicas=0, options=options)}
            observers = await start_observers(evidence, store.root, "evidence", None)
            await observers["it"].observe(look)
        else:
            teacher = TeacherConfig(kind=kind, prompt="recipes/shapes/planner_prompt.txt", options=options)
            await (await start_teacher(teacher, "planner", store.root)).plan(Request("a box"), 1)

    def said(what, answer, look=look):
        with pytest.raises(RuntimeError) as error:
            asyncio.run(asked(what, answer, look))
        return str(error.value)

    return said


@pytest.mark.parametrize(
    ("what", "answer", "words"),
    [
        ("score", "{}", "shape: Answers.score returned a dict, expected Scores"),
        ("score", "Scores(50, 5)", "range: Answers.score returned Scores(semantics=50, quality=5, "),
        ("compare", "None", "TypeError: Answers.compare returned None, expected two Scores: of old and of new"),
        ("compare", "[1, 2]", "shape: Answers.compare returned a int, expected Scores"),
        ("edit", "'a.png'", "TypeError: Answers.edit returned a str, expected a PIL image"),
        ("observe", "{1, 2}", "TypeError: Answers.observe: the answer holds a set, which JSON"),
        ("plan", "3", "Answers.plan returned a int, expected a text"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_told_with_class_and_method_and_no_place_of_ours(ask, what, answer, words):
    said = ask(what, answer)
    assert words in said
    assert not re.search(r"\.py:\d", said)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["score", "edit", "observe", "plan"])
def test_what_is_raised_is_told_once_with_the_line_of_the_user(ask, what):
    """Slow: each class works in a process of its own."""
    said = ask(what, "{}['paint']")
    assert said.count("KeyError") == 1
    assert "KeyError: Answers: 'paint' (" in said
    assert "actors" not in said.partition("KeyError")[2]


@pytest.mark.parametrize("what", ["score", "edit", "observe"])
def test_a_picture_that_cannot_be_shown_is_no_fault_of_the_class_and_not_tried_again(ask, tmp_path, what):
    (tmp_path / "x.png").write_bytes(b"no image")
    said = ask(what, "1", ScoreRequest(None, str(tmp_path / "x.png"), "a box"))
    assert said.removeprefix(f"evidence {tmp_path}/mine.py:Answers: ").startswith(
        f"no_image: image {tmp_path}/x.png cannot be decoded (expected PNG, "
    )
    assert "[attempts: 1," in said


@pytest.mark.slow
@pytest.mark.parametrize("what", ["score", "edit", "observe", "plan"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("UnsayableError()", "UnsayableError: Answers: its __str__ raises OSError ("),
        ("ValueError(HALF)", f"ValueError: Answers: {HALF_TOLD} ("),
        ("FileNotFoundError(HALF)", HALF_TOLD),
    ],
)
def test_what_cannot_be_said_or_written_is_told_nevertheless(ask, what, error, told):
    """Slow: each class works in a process of its own."""
    assert told in ask(what, f"fail({error})")
