"""What is wrong with a record of the public system's is told with its place, and with a kind to count by."""

import json
from typing import Any

import pytest

from data.errors import RecordError
from data.public.import_records import read_record_file
from data.records.image_paths import ImageRules
from tests.support.public_records import FOLDER, answer_to_ueval, save_record, story

RULES = ImageRules(white_canvas="white.png")


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return a story with the value at `path` (`steps.0.step`) replaced, or taken out (...)."""
    record: Any = story()
    place, *keys = record, *path.split(".")
    for key in keys[:-1]:
        place = place[int(key) if key.isdigit() else key]
    last = int(keys[-1]) if keys[-1].isdigit() else keys[-1]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return record


@pytest.mark.parametrize(
    ("path", "value", "kind", "told"),
    [
        ("user_input", 3, "type", "field user_input is a number, expected a string"),
        ("user_input", "a <|im_end|>", "special_token", "field user_input holds <|im_end|>"),
        ("user_input", "<image> a", "marks", "1 <image> marks for 0 images"),
        ("user_input_image", "lost.png", "image_missing", "field user_input_image[0]: there is no image"),
        ("global_context", ..., "missing", "field global_context is missing"),
        ("global_context.reasoning", 3, "type", "field global_context.reasoning is a number"),
        ("global_context.reasoning", "</think>", "tags", "field global_context.reasoning holds one of"),
        ("global_context.execution_plan", [], "plan.num_steps", "0 steps, expected 1 to 64"),
        ("global_context.execution_plan.1", 3, "plan.not_object", "step 2 is a number"),
        ("global_context.execution_plan.1.prompt", ..., "plan.keys", "step 2: found"),
        ("global_context.execution_plan.1.step_number", 3, "plan.numbers", "step number 3 stands where 2 should"),
        ("global_context.execution_plan.0.step_name", "<image>", "plan.marks", "global_context says <image>"),
        (
            "global_context.execution_plan.0.auxiliary_text",
            "So. None}, {'step_number': 2",
            "plan.swallowed_step",
            "step 1",
        ),
        ("steps", {}, "type", "field steps is an object, expected a list"),
        ("steps.1", None, "type", "field steps[1] is null, expected an object"),
        ("steps.0.step", True, "step", "steps[0]: step is True, but the plan has 2 steps"),
        ("steps.0.step", 3, "step", "steps[0]: step is 3, but the plan has 2 steps"),
        ("steps.2.step", 1, "order", "steps[2]: step 1 comes again after it was over"),
        ("steps.2.prompt", "draw part 3", "prompt", "prompt is 'draw part 3', the plan's is 'draw part 2'"),
        ("steps.0.refine_prompt", None, "type", "steps[0]: field refine_prompt is null"),
        ("steps.0.refine_prompt", "a <image>", "marks", "steps[0]: field refine_prompt says <image>"),
        ("steps.0.success", "False", "type", "steps[0]: field success is a string, expected true or false"),
        ("steps.0.success", ..., "missing", "steps[0]: field success is missing"),
        ("steps.0.reasoning", "<answer>", "tags", "steps[0]: reasoning holds one of"),
        ("steps.0.target_img", "white.png", "canvas", "steps[0]: target_img is the white canvas"),
        ("steps.0.target_img", "", "image_missing", "steps[0]: target_img: there is no image"),
        ("steps.0.target_img", ["a"], "type", "steps[0]: target_img is a list, expected a path"),
        ("steps.0.source_img", ..., "type", "steps[0]: source_img is null, expected a path"),
        ("steps.2.source_img", "http://a/b.png", "image_remote", "steps[2]: source_img is 'http://a/b.png'"),
    ],
)
def test_a_wrong_story_is_refused_with_its_place(path, value, kind, told, tmp_path):
    file = save_record(tmp_path, story())
    file.write_text(json.dumps(changed(path, value)))
    with pytest.raises(RecordError) as error:
        read_record_file(file, tmp_path, RULES)
    assert (error.value.kind, error.value.where) == (kind, str(file))
    assert told in error.value.text


@pytest.mark.parametrize(
    ("record", "kind", "told"),
    [
        ({}, "keys", "expected user_input, global_context and steps, or 1, 2, 3, ..."),
        ({"1": answer_to_ueval()["1"], "3": answer_to_ueval()["2"]}, "keys", "found ['1', '3']"),
        ({"1": []}, "type", "field 1 is a list, expected an object"),
        ({"1": answer_to_ueval()["1"] | {"prompt": " "}}, "empty", "1: field prompt is empty"),
        ([], "not_object", "expected an object, found a list"),
    ],
)
def test_a_wrong_answer_to_ueval_is_refused_with_its_place(record, kind, told, tmp_path):
    file = save_record(tmp_path, story())
    file.write_text(json.dumps(record))
    with pytest.raises(RecordError) as error:
        read_record_file(file, tmp_path, RULES)
    assert (error.value.kind, error.value.where) == (kind, str(file))
    assert told in error.value.text


def test_a_critique_of_a_failure_may_be_anything_that_a_record_may_hold(tmp_path):
    file = save_record(tmp_path, changed("steps.0.refine_prompt", " {larger} "))
    trajectory = read_record_file(file, tmp_path, RULES).trajectory
    assert trajectory.request.id == FOLDER
    assert trajectory.attempts[0].critique.refine_prompt == "{larger}"
    assert trajectory.attempts[1].prompt == " {larger} "
