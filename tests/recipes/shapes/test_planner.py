"""The shapes world's requests and teachers: every request has a plan, and the plan says what was asked."""

import json
import random
from collections import Counter

import pytest
from PIL import Image

from recipes.shapes import teacher
from recipes.shapes.requests import MAX_PER_STEP, make_request, read_question, read_wanted, write_requests
from recipes.shapes.world import Thing, draw, parse
from rollout.text.critique import format_critique, parse_critique
from rollout.text.plan import Mode, format_plan, parse_plan


def test_every_request_has_a_plan_that_parses_and_says_what_was_asked():
    rng, kinds = random.Random(0), Counter()
    for seed in range(300):
        text, picture = make_request(rng)
        images = [] if picture is None else [picture]
        plan = teacher.plan(text, images, seed)
        assert parse_plan(format_plan(plan), Mode.GUIDANCE if images else Mode.NARRATIVE) == plan
        wanted = read_wanted(text)
        kinds["words" if plan.is_text_only else "edits" if images else "narrative"] += 1
        if wanted is None:
            assert plan.is_text_only
            continue
        assert [step.number for step in plan.steps] == list(range(wanted.first, wanted.first + len(wanted.steps)))
        asked = " and ".join(str(step.instruction) for step in plan.steps)
        assert text.endswith(asked)
        for step in plan.steps:
            assert parse(str(step.prompt)) == parse(str(step.instruction))
            assert len(parse(str(step.instruction))) <= MAX_PER_STEP
            assert (step.auxiliary_text is not None) == wanted.is_told
    assert min(kinds.values()) > 15
    assert set(kinds) == {"words", "edits", "narrative"}


def test_a_question_is_answered_by_the_picture():
    picture = draw({"top": Thing("red", "circle")})
    assert teacher.plan("What is at the summit?", [picture], 0).steps[0].auxiliary_text == "red circle"
    assert teacher.plan("What is at the base?", [picture], 0).steps[0].auxiliary_text == "nothing"
    assert read_question("What is at the moon?") is None


@pytest.mark.parametrize("text", ["a story of a fox", "Show in 3 steps: a red box at the left", "What is at the moon?"])
def test_what_is_no_request_of_this_world_is_refused(text):
    with pytest.raises(ValueError, match=r"no request of the shapes world|3 steps of 1 things"):
        teacher.plan(text, [], 0)


def test_a_critique_judges_by_the_picture_and_says_the_wish_in_words_of_the_seed():
    before, instruction = draw({"left": Thing("blue", "square")}), "a ruby dot at the summit"
    after = draw({"left": Thing("blue", "square"), "top": Thing("red", "circle")})
    made = {teacher.critique(before, after, instruction, "x", seed).refine_prompt for seed in range(20)}
    assert len(made) > 10
    right, wrong = (teacher.critique(before, image, instruction, "x", 0) for image in (after, before))
    assert (right.is_success, wrong.is_success) == (True, False)
    assert "top red circle sees nothing false" in wrong.thought
    assert parse_critique(format_critique(wrong)) == wrong


def test_the_requests_of_a_seed_are_its_own_and_their_pictures_are_there(tmp_path):
    file = write_requests(tmp_path / "a", 0, 40)
    assert file.read_bytes() == write_requests(tmp_path / "b", 0, 40).read_bytes()
    assert file.read_bytes() != write_requests(tmp_path / "c", 1, 40).read_bytes()
    records = list(map(json.loads, file.read_text().splitlines()))
    assert len({json.dumps(record) for record in records}) == 40
    for name in (name for record in records for name in record["images"]):
        assert Image.open(tmp_path / "a" / name).size == (64, 64)
