"""What is the user's own and answers about records is asked before anything starts; what is wrong is one line."""

import pytest
from PIL import Image

from rl.recipe.reader import load_recipe
from rl.try_own import try_own
from rollout.types import Scores, Task

MINE = """
import os

from PIL import Image
from rollout.types import Scores


class Judge:
    def __init__(self, answer="Scores(1, 2)"):
        self.answer = answer

    def score(self, look):
        return eval(self.answer)


class NotLoaded(Judge):
    def load(self):
        raise OSError("no weights")


class Painter:
    def edit(self, edit):
        return edit.images[0] if "box" in edit.prompt else "box.png"


class Observer:
    def observe(self, look):
        return {"share": look.after.getpixel((0, 0))[0] / 255, "size": 1 if "circle" in look.instruction else set()}


def look(before, after, instruction):
    return {"red": 1 / instruction.count("circle")}


def scorer(before, after, instruction):
    return Scores(1, len(instruction))
"""
KEPT = ["judge.probe=false", "reward.probe=false"]
KIND = "judge.kind is '{}/mine.py:Judge': asked about record one: "


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """`tried(*overrides, instruction=...)`: a recipe of the shapes world on a record whose images are here."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), "red").save("red.png")

    def of(*overrides, instruction="a red box", image="red.png"):
        task = Task("one", instruction, instruction, "red.png", image, False, Scores(2.0, 2.0))
        return try_own(load_recipe("shapes_grpo", [*overrides]), [task], [])

    return of


def test_the_scorer_of_the_shapes_world_reads_its_own_instructions_and_refuses_others(tried):
    assert tried(instruction="a red circle at the left").tried == ("score (judge.scorer) on a record",)
    with pytest.raises(ValueError, match=r"judge.scorer is 'recipes\.shapes\.judge\.score': asked about") as error:
        tried()
    assert "ValueError: cannot read 'a red box': expected" in str(error.value)
    assert "a judge of your own (docs/extending.md)" in str(error.value)
    assert "\n" not in str(error.value)
    assert tried("judge.probe=false").tried == ()


@pytest.mark.parametrize("setting", ["gpus", "image"])
def test_what_cannot_be_tried_is_said(tried, setting):
    if setting == "gpus":
        found = tried("judge.kind=./mine.py:Judge", "judge.gpus_per_replica=1")
    else:
        found = tried("judge.kind=./mine.py:Judge", image="gone.png")
    assert found.tried == ()
    why = {"gpus": "it has GPUs", "image": "no record with its images is here"}[setting]
    assert found.left == (f"what judge.kind answers ({why})",)


@pytest.mark.slow  # each is a process of its own
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["judge.options.answer='{}'"], KIND + "Judge.score returned a dict, expected Scores (judge.probe=false"),
        (["judge.options.answer='Scores(50, 1)'"], KIND + "Judge.score returned Scores(semantics=50, "),
        (["judge.options.answer='{}[0]'"], KIND + "KeyError: Judge: 0 ({}/mine.py:13)"),
        (["judge.options.answer=os._exit(3)"], "its process ended (exit code 3)"),
        (["judge.kind=./mine.py:NotLoaded"], "NotLoaded': OSError: no weights ({}/mine.py:18)"),
        (
            ["judge.options={}", "generator.name=", "generator.kind=./mine.py:Painter"],
            "generator.kind is '{}/mine.py:Painter': asked about record one: Painter.edit returned a str",
        ),
    ],
)
def test_what_a_class_gets_wrong_is_one_line(tried, tmp_path, overrides, words):
    with pytest.raises(ValueError, match=r"probe=false starts without asking\)$") as error:
        tried("judge.kind=./mine.py:Judge", *overrides, instruction="a circle")
    assert words.replace("{}", str(tmp_path)) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (
            "kind: ./mine.py:Observer",
            "kind is './mine.py:Observer': asked about record one: Observer.observe: the answer holds a set",
        ),
        (
            "fn: ./mine.py:look",
            "asked about record one: raised ZeroDivisionError: division by zero ({}/mine.py:32)",
        ),
    ],
)
def test_what_evidence_gets_wrong_is_one_line(tried, tmp_path, evidence, words):
    with pytest.raises(ValueError, match=r"^evidence.it.*\(evidence.it.probe=false starts without asking\)$") as error:
        tried(*KEPT, f"evidence.it={{{evidence}}}")
    assert words.replace("{}", str(tmp_path)) in str(error.value)


def test_evidence_that_ships_with_us_or_is_not_to_be_asked_is_not(tried):
    assert tried(*KEPT, "evidence.it.fn=recipes.shapes.judge.score").tried == ()
    assert tried(*KEPT, "evidence.it={fn: ./mine.py:look, probe: false}").tried == ()
    assert tried(*KEPT, "evidence.it={kind: ./mine.py:Observer, gpus_per_replica: 1}").left == (
        "what evidence.it.kind answers (it has GPUs)",
    )


@pytest.mark.slow
def test_what_answers_is_said(tried):
    own = ["judge.scorer=./mine.py:scorer", "generator.name=", "generator.kind=./mine.py:Painter"]
    own += ["evidence={a: {kind: ./mine.py:Observer}, b: {fn: ./mine.py:look}}"]
    assert tried(*own, instruction="circle box").tried == (
        "scorer (judge.scorer) on a record",
        "Observer (evidence.a.kind) on a record",
        "look (evidence.b.fn) on a record",
        "Painter (generator.kind) on a record",
    )


@pytest.mark.slow
def test_what_does_not_answer_is_told_and_left_to_the_run(tried, monkeypatch, capsys):
    monkeypatch.setattr("rl.try_own.TIMEOUT_S", 8.0)
    found = tried("judge.kind=./mine.py:Judge", "judge.options.answer=__import__('time').sleep(99)")
    assert found.left == ("what judge.kind answers (no answer within 8 s)",)
    assert "no answer within 8 s; starting all the same (judge.probe=false does not ask)" in capsys.readouterr().err
