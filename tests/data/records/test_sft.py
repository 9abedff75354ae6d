"""SFT records of critic and planner: conversations, images and answers that parse."""

import json
from dataclasses import replace

import pytest

from data.errors import RecordError
from data.records.image_paths import ImageResolver, ImageRules
from data.records.sft import Canvas, Kind, read_sft
from rollout.text.critique import parse_critique
from rollout.text.plan import MAX_STEPS, Plan, format_plan, parse_plan
from tests.support.record_files import critic_record, planner_record, save_image


@pytest.fixture
def places(tmp_path):
    save_image(tmp_path / "x.png")
    return ImageResolver(tmp_path, ImageRules(white_canvas="white.png"))


def critic(record, places):
    return read_sft(record, Kind.CRITIC_SFT, places, default_id="it")


def planner(record, places):
    return read_sft(record, Kind.PLANNER_SFT, places, default_id="it")


def answered(record, text):
    return {**record, "messages": [*record["messages"][:-1], {"role": "assistant", "content": text}]}


def test_a_critique_is_read_with_its_images(places, tmp_path):
    record = critic(critic_record(3, is_success=True), places)
    assert (record.id, record.answer.is_success, record.answer.refine_prompt) == ("it", True, "a ruby box 3")
    assert record.images == (Canvas((64, 64)), str(tmp_path / "x.png"))
    assert record.source_prompt.endswith("is it a red box number 3?")
    assert not record.is_rewritten


def test_a_plan_is_read_as_what_was_asked(places):
    record = planner(planner_record(1, id=5, source_prompt="a day"), places)
    assert (record.id, record.source_prompt, len(record.answer.steps)) == ("5", "a day", 2)
    assert [message.role for message in record.messages] == ["system", "user", "assistant"]


def test_a_slip_in_an_optional_fields_name_is_told(places):
    with pytest.raises(RecordError, match=r"field 'source_promt' is unknown; did you mean source_prompt\?"):
        planner(planner_record(1, source_promt="a day"), places)
    text_only = {name: value for name, value in planner_record(1).items() if name != "images"}
    with pytest.raises(
        RecordError, match=r"field 'image' is unknown; did you mean images\? \(if not, say images: null"
    ):
        planner({**text_only, "image": "x.png"}, places)
    foreign = {"source": "web", "system": "", "tools": "[]", "videos": [], "image": "x.png", "images": None}
    assert planner(text_only | foreign, places) == planner(text_only, places)


def test_a_canvas_may_be_declared_or_be_a_path_that_the_rules_name(places):
    images = [{"canvas": "white"}, "/theirs/white.png"]
    assert critic(critic_record(images=images), places).images == (Canvas(), Canvas())


def test_images_as_hugging_face_datasets_hold_them(places, tmp_path):
    images = ["x.png", {"bytes": None, "path": "x.png"}]
    assert critic(critic_record(images=images), places).images == (str(tmp_path / "x.png"),) * 2
    with pytest.raises(RecordError, match=r"field images\[1\]: field bytes is a string, expected bytes"):
        critic(critic_record(images=["x.png", {"bytes": "x", "path": None}]), places)


def test_a_python_literal_is_taught_as_json(places):
    """The public system's prompts show the answer as a Python dictionary, so its files answer so."""
    answer = {"previous_step_success": False, "refine_prompt": "a dog's red box"}
    text = f"<think>\nI look\n</think>\n\n<answer>\n{answer}\n</answer>"
    record = critic(answered(critic_record(), text), places)
    assert record.is_rewritten
    assert parse_critique(record.messages[-1].content) == record.answer
    assert record.answer.refine_prompt == "a dog's red box"
    steps = [{"step_number": 3, "step_name": "A", "instruction": None, "prompt": None, "auxiliary_text": "It is so."}]
    record = {"messages": [{"role": "user", "content": "<image>say why"}, {}], "images": ["x.png"]}
    read = planner(answered(record, f"<answer>{ {'execution_plan': steps} }</answer>"), places)
    assert read.is_rewritten
    assert (read.answer.is_text_only, read.answer.steps[0].number) == (True, 3)
    assert '"instruction": null' in read.messages[-1].content


HOSTILE_LITERALS = [
    "__import__('os').system('true')",
    "{'previous_step_success': True, 'previous_step_success': False, 'refine_prompt': 'x'}",
    "{'previous_step_success': {1, 2}, 'refine_prompt': b'x'}",
    "(" * 10_000 + ")" * 10_000,
    "-" * 50_000 + "1",
    "{'a': '" + "x" * 300_000 + "'}",
    "'\0'",
]


@pytest.mark.parametrize("literal", HOSTILE_LITERALS)
def test_what_is_no_plain_literal_is_no_answer(places, literal):
    with pytest.raises(RecordError, match="not an answer by the contract") as caught:
        critic(answered(critic_record(), f"<think>a</think><answer>{literal}</answer>"), places)
    assert caught.value.kind == "answer.json"


USER = {"role": "user", "content": "<image><image>x"}
ANSWER = critic_record()["messages"][-1]


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"messages": None}, "type", "field messages is null, expected a list"),
        ({"messages": []}, "roles", r"the roles are \[\]"),
        ({"messages": ["hi"]}, "type", r"messages\[0\] is a string, expected an object"),
        ({"messages": [USER, {"role": "assistant"}]}, "missing", r"messages\[1\]: field content is missing"),
        ({"messages": [USER, {**ANSWER, "content": 3}]}, "type", r"messages\[1\]: field content is a number"),
        ({"messages": [{**USER, "content": "<image><image>\ud800"}, ANSWER]}, "unicode", r"messages\[0\].content"),
        ({"messages": [USER]}, "roles", "expected user and assistant in turns"),
        ({"messages": [ANSWER, USER]}, "roles", "the roles are"),
        ({"messages": [USER, USER, ANSWER]}, "roles", "the roles are"),
        ({"messages": [{**USER, "role": "human"}, ANSWER]}, "roles", "the roles are"),
        ({"messages": [{**USER, "content": "<image>"}, ANSWER]}, "marks", "1 <image> marks for 2 images"),
        ({"messages": [USER, {**ANSWER, "content": "<image>"}]}, "marks", "an assistant's message holds <image>"),
        ({"images": "x.png"}, "type", "field images is a string, expected a list"),
        ({"images": ["x.png"]}, "marks", "2 <image> marks for 1 images"),
        ({"images": ["x.png", "y.png"]}, "image_missing", r"field images\[1\]: there is no image at"),
        ({"images": ["x.png", {"canvas": "black"}]}, "canvas", r"images\[1\] is .*expected a path or"),
        ({"images": ["x.png", {"canvas": "white", "size": [0, 5]}]}, "canvas", r"size is \[0, 5\]"),
        ({"images": ["x.png", {"canvas": "white", "size": [10**5, 10**5]}]}, "canvas", "up to 16384"),
        ({"images": ["x.png", {"canvas": "white", "size": [True, 5]}]}, "canvas", "size is"),
        ({"version": "1"}, "version", "field version is '1'"),
    ],
)
def test_a_broken_record_says_where(places, changes, kind, message):
    with pytest.raises(RecordError, match=message) as caught:
        critic(critic_record(**changes), places)
    assert caught.value.kind == kind


def test_a_critic_sees_two_images(places):
    record = critic_record(images=["x.png"], messages=[{"role": "user", "content": "<image>?"}, ANSWER])
    with pytest.raises(RecordError, match="1 images; a critic sees 2"):
        critic(record, places)


def test_a_plan_of_ten_thousand_steps_is_an_error_by_name(places):
    step = parse_plan(planner_record()["messages"][-1]["content"]).steps[0]
    entry = {"step_name": step.name, "instruction": step.instruction, "prompt": step.prompt, "auxiliary_text": None}
    steps = [{"step_number": number, **entry} for number in range(1, 10_001)]
    text = f"<answer>{json.dumps({'execution_plan': steps})}</answer>"
    with pytest.raises(RecordError, match=f"10000 steps, expected 1 to {MAX_STEPS}") as caught:
        planner(answered(planner_record(), text), places)
    assert caught.value.kind == "answer.num_steps"


def test_words_alone_answer_images_and_nothing_else(places):
    steps = [{"step_number": 1, "step_name": "A", "instruction": None, "prompt": None, "auxiliary_text": "So."}]
    text = f"<answer>{json.dumps({'execution_plan': steps})}</answer>"
    with pytest.raises(RecordError, match="a narrative makes images"):
        planner(answered(planner_record(), text), places)


def test_a_plan_that_swallowed_its_next_step_is_a_bad_record_by_name(places):
    step = parse_plan(planner_record()["messages"][-1]["content"]).steps[0]
    text = format_plan(Plan((replace(step, auxiliary_text="It rains. None}, {'step_number': 2"),)))
    with pytest.raises(RecordError) as caught:
        planner(answered(planner_record(), text), places)
    assert caught.value.kind == "answer.swallowed_step"
