"""The public system's SFT files: what is read of them though it is not the contract's form, and what is not."""

import json

import pytest

from data.check.check import CheckRules, check
from data.errors import RecordError
from data.records.image_paths import ImageResolver, ImageRules
from data.records.public_answers import LENIENCIES, prompt_used, read_critique, read_plan
from data.records.sft import Kind, read_sft
from rollout.text.critique import CritiqueError, parse_critique
from rollout.text.plan import Mode, PlanError, parse_plan
from tests.support.public_records import save_record, story
from tests.support.record_files import report, save_image, write_lines

ASKED = (
    '<image><image>\nHow good?\nFirst (what was asked): "a red box"\nThen (if it was replaced): "{}"\n\n## More: "x"'
)
STEP = {"step_number": 1, "step_name": "A", "instruction": "B", "prompt": "C", "auxiliary_text": None}
LITERAL = "{'previous_step_success': False, 'refine_prompt': 'd'}"
TRUE = '{"previous_step_success": true, "refine_prompt": ""}'


def critic(answer: str, told: str = "", *, asked: str = ASKED) -> dict[str, object]:
    """Return an SFT record in the public system's form."""
    messages = [
        {"role": "user", "content": asked.replace("{}", told)},
        {"role": "assistant", "content": answer},
    ]
    return {"messages": messages, "images": ["/theirs/white.png", "x.png"]}


@pytest.fixture
def places(tmp_path):
    save_image(tmp_path / "x.png")
    return ImageResolver(tmp_path, ImageRules(white_canvas="white.png"))


@pytest.mark.parametrize(("told", "taught"), [("", "a red box"), ("a bright red box", "a bright red box")])
def test_a_success_with_an_empty_prompt_keeps_the_prompt_that_its_image_was_made_with(told, taught, places):
    text = f"<think>good</think>\n<answer>{TRUE}</answer>"
    record = read_sft(critic(text, told), Kind.CRITIC_SFT, places, default_id="it")
    assert record.answer.refine_prompt == taught
    assert (record.leniencies, record.is_rewritten) == (("empty_success",), True)
    assert parse_critique(record.messages[-1].content) == record.answer
    with pytest.raises(CritiqueError) as error:  # the contract's own parser stays as it is
        parse_critique(text)
    assert error.value.kind == "empty_prompt"


@pytest.mark.parametrize(
    "asked",
    ["<image><image>is it good?", f'{ASKED}\n\nA: "b"\nC: "d"', ASKED.replace("a red box", "")],
    ids=["none", "two", "empty"],
)
def test_an_empty_prompt_is_refused_where_no_prompt_can_be_told(asked, places):
    with pytest.raises(RecordError, match="refine_prompt is empty"):
        read_sft(critic(f"<think></think><answer>{TRUE}</answer>", asked=asked), Kind.CRITIC_SFT, places, default_id="")


def test_a_failure_with_an_empty_prompt_is_refused():
    with pytest.raises(CritiqueError) as error:
        read_critique(f"<think></think><answer>{TRUE.replace('true', 'false')}</answer>", ASKED)
    assert error.value.kind == "empty_prompt"


@pytest.mark.parametrize(
    ("text", "thought", "leniencies"),
    [
        ('{"reasoning": "dull", "previous_step_success": false, "refine_prompt": "d"}', "dull", ("no_tags",)),
        ('<think>dull</think>\n{"previous_step_success": false, "refine_prompt": "d"}', "dull", ("no_tags",)),
        ('{"previous_step_success": false, "refine_prompt": "d"}', "", ("no_tags",)),
        (LITERAL, "", ("no_tags", "python_literal")),
        (f"<think>e</think><answer>{LITERAL}</answer>", "e", ("python_literal",)),
    ],
)
def test_json_without_tags_and_literals_are_taught_in_the_contracts_form(text, thought, leniencies):
    read = read_critique(text)
    assert (read.answer.is_success, read.answer.refine_prompt, read.answer.thought) == (False, "d", thought)
    assert read.leniencies == leniencies
    assert parse_critique(read.text) == read.answer
    assert set(leniencies) <= set(LENIENCIES)


@pytest.mark.parametrize(
    "text",
    [
        '{"previous_step_success": "true", "refine_prompt": "d"}',
        '{"previous_step_success": true, "refine_prompt": "d", "score": 3}',
        '{"previous_step_success": true, "refine_prompt": "d"} so it is good',
        '<think>a</think>{"previous_step_success": true, "refine_prompt": "d"}</answer>',
        '{"reasoning": "</think>", "previous_step_success": true, "refine_prompt": "d"}',
        '{"reasoning": 3, "previous_step_success": true, "refine_prompt": "d"}',
        '["previous_step_success"]',
        '{"previous_step_success": true, "previous_step_success": true, "refine_prompt": "d"}',
    ],
)
def test_nothing_else_is_read(text):
    with pytest.raises(CritiqueError):
        read_critique(text, ASKED)


def test_an_answer_of_the_contract_is_read_as_it_is():
    text = '<think>a</think> <answer>{"previous_step_success": true, "refine_prompt": "b"}</answer>'
    read = read_critique(text, ASKED)
    assert (read.answer, read.text, read.leniencies) == (parse_critique(text), text, ())


def test_a_plan_without_tags_keeps_its_reasoning():
    read = read_plan(json.dumps({"reasoning": "why", "execution_plan": [STEP]}), Mode.NARRATIVE)
    assert (read.answer.thought, read.leniencies) == ("why", ("no_tags",))
    assert parse_plan(read.text) == read.answer


@pytest.mark.parametrize(
    "tail", ["None}, {'step_number': 2, 'step_name': 'B'", 'null},\n {"step_number": 2', "'None}, {'step_number'"]
)
def test_a_plan_that_swallowed_its_next_step_is_refused_with_a_reason_of_its_own(tail, places):
    plan = {"execution_plan": [STEP | {"auxiliary_text": f"It is so. {tail}"}]}
    for text in (f"<answer>{json.dumps(plan)}</answer>", f"<answer>{plan}</answer>", json.dumps(plan)):
        with pytest.raises(PlanError) as error:
            read_plan(text, Mode.NARRATIVE)
        assert error.value.kind == "swallowed_step"
    record = {"messages": [{"role": "user", "content": "a day"}, {"role": "assistant", "content": text}], "images": []}
    with pytest.raises(RecordError) as refused:
        read_sft(record, Kind.PLANNER_SFT, places, default_id="it")
    assert refused.value.kind == "answer.swallowed_step"


def test_a_check_counts_each_of_them(tmp_path):
    untagged = '{"previous_step_success": false, "refine_prompt": "d"}'
    answers = [f"<think>good</think><answer>{TRUE}</answer>", untagged, "nothing"]
    path = write_lines(tmp_path / "critic_sft.jsonl", [critic(answer) for answer in answers])
    summary = check(path, CheckRules(Kind.CRITIC_SFT, ImageRules(white_canvas="white.png")))
    assert summary.statistics.leniencies == {"empty_success": 1, "no_tags": 1}
    assert dict(summary.bad.counts) == {"answer.tags": 1}
    text = report(summary)
    assert "1 successes have an empty refine_prompt; they are taught the prompt that the image was made with" in text
    assert "1 answers are JSON without tags; they are read, and taught, in tags" in text
    assert "Python literals" not in text


def test_a_prompt_is_found_in_linear_time():
    hostile = 'a: "' * 100_000 + "\n" + 'b: "' * 100_000 + "c"
    assert prompt_used(hostile) == ""


def test_the_released_rl_file_loads_by_its_rules(tmp_path):
    record = {
        "origin_prompt": "a box",
        "rewritten_prompt": "",
        "origin_image_path": "/theirs/data/white.png",
        "edited_image_path": "/theirs/data/a/x.png",
        "evaluation": {"success": False, "semantics": 3, "quality": 8},
    }
    (tmp_path / "a").mkdir()
    save_image(tmp_path / "a/x.png")
    path = write_lines(tmp_path / "critic_rl.jsonl", [record])
    rules = ImageRules(prefixes=(("/theirs/data", str(tmp_path)),), white_canvas="white.png")
    summary = check(path, CheckRules(images=rules))
    assert (summary.num_records, summary.bad.num, summary.num_canvas_paths) == (1, 0, 1)


def test_a_check_of_another_kind_of_file_says_who_reads_it(tmp_path):
    with pytest.raises(RecordError, match="which `interleave data build` reads"):
        check(write_lines(tmp_path / "a.jsonl", [{"id": 1, "user_input": "a", "user_input_image": None}]), CheckRules())
    with pytest.raises(RecordError, match="which `interleave data import` reads"):
        check(save_record(tmp_path, story()), CheckRules())
