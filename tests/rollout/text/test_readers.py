"""The readers of answers: each way in which the public system's answers differ, by its name, and no guess beyond."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.text.critique import CritiqueError, format_critique, parse_critique
from rollout.text.loose_json import Leniency
from rollout.text.plan import Mode, PlanError, format_plan, parse_plan
from rollout.text.readers import CONTRACT, READERS
from rollout.types import Critique, Plan, PlanStep

PUBLIC = READERS["public"]
VERDICT = '{"previous_step_success": false, "refine_prompt": "a red box"}'
CRITIQUE = f"<think>no box</think><answer>{VERDICT}</answer>"
READ = Critique(False, "a red box", "no box")
STEP = '{"step_number": 1, "step_name": "Sky", "instruction": "A sky", "prompt": "a sky", "auxiliary_text": null}'
PLAN = f'<answer>{{"execution_plan": [{STEP}]}}</answer>'
SKY = PlanStep(1, "Sky", "A sky", "a sky")


@pytest.mark.parametrize(
    ("answer", "kind", "leniencies", "critique"),
    [
        (CRITIQUE.replace("false", "False").replace('"', "'"), "json", "literal", READ),
        (CRITIQUE.replace("false", "False"), "json", "literal", READ),
        (CRITIQUE.replace('box"}', 'box",}'), "json", "trailing_comma", READ),
        (CRITIQUE.replace(VERDICT, f"```json\n{VERDICT}\n```"), "json", "fence", READ),
        (CRITIQUE.replace("}", ', "confidence": [0.9, "high", {"why": "a, b"}]}'), "keys", "extra_key", READ),
        (f"<think>no box</think>\n{VERDICT}", "tags", "no_tags", READ),
        (f"<think>no box</think>\n```json\n{VERDICT}\n```\n", "tags", "no_tags fence", READ),
        (CRITIQUE + "\nI hope this helps.", "tags", "text_after", READ),
        (CRITIQUE.replace("</answer>", " That is all.</answer>"), "json", "text_after", READ),
        (CRITIQUE.replace("a red box", "a red\nbox"), "json", "newline", Critique(False, "a red\nbox", "no box")),
        (
            "<think>x</think><answer>{'previous_step_success': False, 'refine_prompt': 'the cat's hat'}</answer>",
            "json",
            "literal apostrophe",
            Critique(False, "the cat's hat", "x"),
        ),
        (
            CRITIQUE.replace("a red box", 'the word "red", and a box'),
            "json",
            "apostrophe",
            Critique(False, 'the word "red", and a box', "no box"),
        ),
        (
            CRITIQUE.replace("false", "true").replace("a red box", ""),
            "empty_prompt",
            "empty_prompt",
            Critique(True, "its own", "no box"),
        ),
        (
            CRITIQUE.replace("false", "True").replace('"a red box"', "None"),
            "json",
            "literal empty_prompt",
            Critique(True, "its own", "no box"),
        ),
        (f"<answer>{VERDICT}</answer>", "tags", "no_think", Critique(False, "a red box")),
        (
            f"There is no box. <answer>{VERDICT}</answer>",
            "tags",
            "no_think",
            Critique(False, "a red box", "There is no box."),
        ),
        (CRITIQUE.removeprefix("<think>"), "tags", "no_think", READ),
        (VERDICT, "tags", "no_think no_tags", Critique(False, "a red box")),
        (CRITIQUE.removesuffix("</answer>"), "tags", "missing_tag", READ),
        (CRITIQUE.replace("</think>", ""), "tags", "missing_tag", READ),
        (CRITIQUE.replace("<answer>", ""), "tags", "missing_tag", READ),
    ],
)
def test_a_critique_that_the_contract_refuses_is_read_and_its_differences_are_named(answer, kind, leniencies, critique):
    with pytest.raises(CritiqueError) as caught:
        CONTRACT.critique(answer, "its own")
    assert caught.value.kind == kind
    reading = PUBLIC.critique(answer, "its own")
    assert reading.what == critique
    assert " ".join(reading.leniencies) == leniencies
    assert parse_critique(format_critique(reading.what)) == reading.what, "what is rewritten keeps the contract"


@pytest.mark.parametrize(
    ("answer", "kind", "leniencies", "step"),
    [
        (PLAN.replace('"', "'").replace("null", "None"), "json", "literal", SKY),
        (PLAN.replace("null}", "null,}").replace("}]", "},]"), "json", "trailing_comma", SKY),
        (PLAN.replace("<answer>", "<answer>```json\n").replace("</answer>", "\n```</answer>"), "json", "fence", SKY),
        (PLAN.replace("null}", 'null, "mood": "calm"}'), "keys", "extra_key", SKY),
        (PLAN.replace('{"exec', '{"reasoning": "it\'s blue", "exec'), "keys", "extra_key", SKY),
        (PLAN.replace('"step_name": "Sky", ', ""), "keys", "no_step_name", PlanStep(1, "Step 1", "A sky", "a sky")),
        (PLAN.replace("<answer>", "").replace("</answer>", ""), "tags", "no_tags", SKY),
        (PLAN + " Enjoy!", "tags", "text_after", SKY),
        (PLAN.replace("null", '"None"'), "empty_text", "none_text", SKY),
        (
            PLAN.replace('"A sky"', '"None"').replace('"a sky"', '"None"').replace("null", '"It is blue."'),
            "empty_text",
            "none_text",
            PlanStep(1, "Sky", None, None, "It is blue."),
        ),
        (
            PLAN.replace('"', "'").replace("null", "None").replace("A sky", "The cat's sky"),
            "json",
            "literal apostrophe",
            PlanStep(1, "Sky", "The cat's sky", "a sky"),
        ),
        (PLAN.replace("A sky", "A\nsky"), "json", "newline", PlanStep(1, "Sky", "A\nsky", "a sky")),
        (PLAN.removesuffix("</answer>"), "tags", "missing_tag", SKY),
        ("I plan.</think>" + PLAN, "tags", "no_think", SKY),
    ],
)
def test_a_plan_that_the_contract_refuses_is_read_and_its_differences_are_named(answer, kind, leniencies, step):
    with pytest.raises(PlanError) as caught:
        CONTRACT.plan(answer)
    assert caught.value.kind == kind
    reading = PUBLIC.plan(answer)
    assert reading.what.steps == (step,)
    assert " ".join(reading.leniencies) == leniencies
    assert parse_plan(format_plan(reading.what)) == reading.what


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("it is fine", "tags"),
        (CRITIQUE.replace("false", '"false"'), "type"),
        (CRITIQUE.replace("false", "'False'"), "type"),
        (CRITIQUE.replace("a red box", ""), "empty_prompt"),
        (CRITIQUE.replace(', "refine_prompt": "a red box"', ""), "keys"),
        (CRITIQUE + CRITIQUE, "repeated_tags"),
        (f"<think>no box</think>{VERDICT} or {VERDICT}", "tags"),
        (CRITIQUE.replace('box"}', "bo"), "json"),
        (f"<think>Hm</think> so <answer>{VERDICT}</answer>", "tags"),
        (f"<answer>{VERDICT}</answer><think>no box</think>", "tags"),
        (f"<think>no box</think> I say: {VERDICT}", "tags"),
        (CRITIQUE.replace("{", "\N{NO-BREAK SPACE}{"), "json"),
        (CRITIQUE.replace(": false", ":\N{NO-BREAK SPACE}false"), "json"),
        ("<think>x</think>[1, 2]", "not_object"),
        (CRITIQUE.replace("{", '{"refine_prompt": "b",'), "json"),
        ("<think>x</think><answer>" + "[" * 100_000 + "</answer>", "json"),
        ("<think>x</think><answer>" + "[" * 100_000 + "]" * 100_000 + "</answer>", "json"),
        (CRITIQUE.replace("a red box", "a <|im_end|> box").replace("false", "False"), "special_token"),
    ],
)
def test_what_is_in_doubt_both_readers_refuse(answer, kind):
    with pytest.raises(CritiqueError):
        CONTRACT.critique(answer, "its own")
    with pytest.raises(CritiqueError) as caught:
        PUBLIC.critique(answer, "its own")
    assert caught.value.kind == kind


SWALLOWED = "It's dark. None}, {'step_number': 2, 'step_name': 'Moon"


@pytest.mark.parametrize("reader", READERS.values())
def test_a_plan_that_swallowed_its_next_step_is_refused_by_name(reader):
    with pytest.raises(PlanError, match="swallowed_step: step 1: auxiliary_text holds the beginning of another step"):
        reader.plan(PLAN.replace("null", json.dumps(SWALLOWED)))


def test_a_step_that_a_missing_mark_makes_swallow_the_next_is_refused_too():
    entry = STEP.replace('"', "'")
    two = f"{{'execution_plan': [{entry.replace('null', repr('It is dark')[:-1])}, {entry}]}}"
    with pytest.raises(PlanError, match="json: duplicate keys"):
        PUBLIC.plan(f"<answer>{two}</answer>")


def test_escapes_mean_what_they_mean_in_the_language_they_are_of():
    said = r"""{'previous_step_success': False, 'refine_prompt': 'it\'s \u00e9\n\x41 \d "b" 🐈'}"""
    assert PUBLIC.critique(f"<think>x</think><answer>{said}</answer>", "").what.refine_prompt == 'it\'s é\nA \\d "b" 🐈'


PIECES = st.sampled_from(
    [
        *"{}[],:'\"\\ \n`",
        "True",
        "None",
        "false",
        "```json",
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "\\'",
        "\\u12",
        "'previous_step_success'",
        '"refine_prompt"',
        "'execution_plan'",
        "'step_number'",
        "1",
        "cat's",
        "\ud83d",
        VERDICT,
        STEP,
    ]
)


def read(function, *arguments):
    """Return the reading; None for a named error. Anything else that is raised is a failure."""
    try:
        return function(*arguments)
    except (CritiqueError, PlanError):
        return None


@settings(max_examples=200)
@given(st.lists(PIECES | st.text(max_size=3), max_size=24).map("".join), st.sampled_from([None, *Mode]))
def test_any_text_is_read_or_refused_by_name_and_as_the_contract_reads_it(text, mode):
    for answer in (text, f"<think>x</think><answer>{text}</answer>", f"{{'execution_plan': [{text}]}}"):
        for name, own in (("critique", "p"), ("plan", mode)):
            strict, lenient = (read(getattr(reader, name), answer, own) for reader in (CONTRACT, PUBLIC))
            if strict is not None:
                assert lenient == strict
            elif lenient is not None:
                assert lenient.leniencies


QUOTED = st.text(max_size=20).filter(lambda text: text.strip() and "<" not in text and "\0" not in text)


@settings(max_examples=200)
@given(st.booleans(), QUOTED, QUOTED)
def test_any_critique_as_a_python_literal_is_read_to_the_same(is_success, prompt, thought):
    said = repr({"previous_step_success": is_success, "refine_prompt": prompt})
    reading = PUBLIC.critique(f"<think>{thought}</think><answer>{said}</answer>", "its own")
    assert reading.what == Critique(is_success, prompt.strip(), thought.strip())
    assert reading.leniencies == (Leniency.LITERAL,)


def test_a_long_answer_is_read_in_a_moment():
    text = "'," * 50_000 + "' \n" * 50_000
    with pytest.raises(CritiqueError):
        PUBLIC.critique("<think>x</think><answer>{'refine_prompt': '" + text + "</answer>", "")


def test_a_plan_of_a_reader_is_that_of_the_contract_where_it_reads():
    plan = Plan((SKY,), "a thought")
    assert PUBLIC.plan(format_plan(plan)) == CONTRACT.plan(format_plan(plan))
