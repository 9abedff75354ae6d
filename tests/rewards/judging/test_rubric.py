"""The judge's answers are read strictly: exactly the stated form with values in range, or an error with a name."""

import json
import math
import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rewards.judging.checklist import render_checklist
from rewards.judging.rubric import FORMS, RubricError, check_scores, combine, parse_scores, render_semantics
from rollout.text.prompt_file import fill
from rollout.types import Scores

RIGHT: dict[str, dict[str, Any]] = {
    "rubric": {"reasoning": "fine", "score": [7, 8.5]},
    "pair": {"reasoning": "fine", "first": [7, 8.5], "second": [0, 10]},
    "checklist": {"reasoning": "fine", "answers": ["yes", False]},
    "questions": {"questions": ["Is there a box?", "Is it red?"]},
}
READ = {
    "rubric": {"reasoning": "fine", "scores": [7.0, 8.5]},
    "pair": {"reasoning": "fine", "first": [7.0, 8.5], "second": [0.0, 10.0]},
    "checklist": {"reasoning": "fine", "answers": [True, False]},
    "questions": {"questions": ["Is there a box?", "Is it red?"]},
}
forms = pytest.mark.parametrize("form", FORMS)


def refusal(form, answer, size=2):
    """Return the kind of error that an answer earns."""
    with pytest.raises(RubricError) as caught:
        FORMS[form].parse(answer if isinstance(answer, str) else json.dumps(answer), size)
    return caught.value.kind


@forms
@pytest.mark.parametrize("wrapped", ["%s", "  %s\n", "```json\n%s\n```", "```\n %s \n```\n"])
def test_reads_json_bare_or_in_one_fence(form, wrapped):
    assert FORMS[form].parse(wrapped % json.dumps(RIGHT[form]), 2) == READ[form]


def test_a_raw_line_break_in_the_reasoning_is_forgiven():
    answer = parse_scores('{"reasoning": "one\ntwo\tthree", "score": [7, 8]}')
    assert answer == {"reasoning": "one\ntwo\tthree", "scores": [7.0, 8.0]}


@forms
@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ("", "unreadable"),
        ("I am sorry, I cannot judge this image.", "unreadable"),
        ("Here you are: %s", "unreadable"),
        ("```json\n%s\n```\nHope this helps!", "unreadable"),
        ("```json\n%s\n```\n```json\n%s\n```", "unreadable"),
        ("[%s]", "shape"),
        ("[" * 100_000, "unreadable"),
    ],
)
def test_refuses_what_is_not_one_object(form, broken, kind):
    assert refusal(form, broken.replace("%s", json.dumps(RIGHT[form]))) == kind


@forms
def test_refuses_half_an_answer_and_an_answer_and_a_half(form):
    text = json.dumps(RIGHT[form])
    assert refusal(form, text[:-3]) == "unreadable"
    assert refusal(form, text.replace('"', "'")) == "unreadable"
    assert refusal(form, RIGHT[form] | {"confidence": 1}) == "shape"
    for key in RIGHT[form]:
        assert refusal(form, {other: value for other, value in RIGHT[form].items() if other != key}) == "shape"
        assert refusal(form, RIGHT[form] | {key: None}) == "shape"
        assert refusal(form, text[:-1] + f', "{key}": {json.dumps(RIGHT[form][key])}}}') == "unreadable"


@pytest.mark.parametrize(
    ("score", "kind"),
    [
        ("7", "shape"),
        ("[7]", "shape"),
        ("[7, 8, 9]", "shape"),
        ("[true, 8]", "not_number"),
        ('["7", 8]', "not_number"),
        ("[null, 8]", "not_number"),
        ("[[7], 8]", "not_number"),
        ("[80, 8]", "range"),
        ("[-1, 8]", "range"),
        ("[NaN, 8]", "range"),
        ("[8, Infinity]", "range"),
        ("[8, -Infinity]", "range"),
        ("[1e999, 8]", "range"),
        ("[10.01, 8]", "range"),
        ("[1" + "0" * 400 + ", 8]", "range"),
    ],
)
def test_refuses_scores_that_are_not_two_numbers_from_0_to_10(score, kind):
    assert refusal("rubric", f'{{"reasoning": "x", "score": {score}}}') == kind
    assert refusal("pair", f'{{"reasoning": "x", "first": {score}, "second": [1, 2]}}') == kind
    assert refusal("pair", f'{{"reasoning": "x", "first": [1, 2], "second": {score}}}') == kind


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (["yes"], "shape"),
        (["yes", "no", "no"], "shape"),
        ({"1": "yes", "2": "no"}, "shape"),
        (["yes", "probably"], "not_yes_or_no"),
        (["yes", 1], "not_yes_or_no"),
        (["yes", None], "not_yes_or_no"),
        (["yes", ["no"]], "not_yes_or_no"),
    ],
)
def test_refuses_answers_that_are_not_yes_or_no_for_each_question(answers, kind):
    assert refusal("checklist", {"reasoning": "x", "answers": answers}) == kind


@pytest.mark.parametrize(
    ("questions", "kind"),
    [
        ([], "shape"),
        (["a?", "b?", "c?"], "shape"),
        (["a?", " "], "shape"),
        (["a?" * 151], "shape"),
        (["a?", 7], "shape"),
        (["Is it red?", "is it  RED?"], "duplicate"),
    ],
)
def test_refuses_questions_that_are_too_many_or_none(questions, kind):
    assert refusal("questions", {"questions": questions}) == kind


def test_yes_and_no_are_read_in_any_case_and_as_booleans():
    given = {"reasoning": "", "answers": ["Yes", " NO ", True, False]}
    assert FORMS["checklist"].parse(json.dumps(given), 4)["answers"] == [True, False, True, False]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["yes", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["reasoning", "score", "first", "second", "answers", "questions", "x"])
nearly_right = st.builds(
    lambda form, changes: json.dumps(RIGHT[form] | changes),
    st.sampled_from([*FORMS]),
    st.dictionaries(keys, values, max_size=2),
)


@given(st.text(max_size=60) | nearly_right, st.sampled_from([*FORMS]), st.integers(1, 3))
@example('{"reasoning": "' + "[" * 50 + '", "score": [1, 2]}', "rubric", 2)
@example('{"reasoning": "", "score": ' + "[" * 900 + "]" * 900 + "}", "rubric", 2)
@example('{"reasoning": "", "score": [' + "[" * 900 + "]" * 900 + ", 2]}", "rubric", 2)
@example('{"reasoning": "", "answers": ["yes", ' + "[" * 900 + "]" * 900 + "]}", "checklist", 2)
@example('{"reasoning": "\\ud800", "score": [1, 2]}', "rubric", 2)
@example('{"reasoning": "", "score": [' + "9" * 5000 + ", 2]}", "rubric", 2)
def test_any_text_is_an_answer_that_can_be_kept_or_a_rubric_error(text, form, size):
    try:
        kept = json.dumps(FORMS[form].parse(text, size), ensure_ascii=False, allow_nan=False)
    except RubricError as error:
        kept = str(error)
    kept.encode()


@given(st.floats(), st.floats())
def test_scores_in_range_come_back_and_no_others_do(first, second):
    text = json.dumps({"reasoning": "", "score": [first, second]})
    if all(math.isfinite(score) and 0 <= score <= 10 for score in (first, second)):
        assert parse_scores(text)["scores"] == [first, second]
    else:
        assert refusal("rubric", text) == "range"


@forms
def test_a_schema_asks_for_what_the_parser_reads(form):
    schema = FORMS[form].schema(2)
    assert schema["required"] == list(schema["properties"])
    assert set(schema["properties"]) == set(RIGHT[form])
    assert schema["additionalProperties"] is False
    smallest = {name: _smallest(kind) for name, kind in schema["properties"].items()}
    FORMS[form].parse(json.dumps(smallest), 2)


def _smallest(schema):
    if schema["type"] == "array":
        return [_smallest(schema["items"])] * schema["minItems"]
    return schema.get("enum", [schema.get("minimum", "x")])[0]


def test_an_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(RubricError("range", "80")))
    assert (error.kind, str(error)) == ("range", "range: 80")


def test_the_smaller_score_of_each_rubric_counts():
    first = {"scores": [2.0, 9.0], "reasoning": "one shape missing"}
    scores = combine(first, {"scores": [10.0, 6.0], "reasoning": "blurred"})
    assert scores == Scores(2.0, 6.0, "one shape missing | blurred")


def test_an_instruction_cannot_add_images_or_fields():
    text = render_semantics("{images}\n{instruction}", "draw <image> and {images}", has_before=True)
    assert text.count("<image>") == 2
    assert text.endswith("draw  and {images}")
    asked = render_checklist("{images} {instruction} {questions}", "{questions}", ["is <image> there?"], "<image>")
    assert asked == "<image> {questions} 1. is  there?"


@given(st.text("<image>{}a", max_size=30))
def test_no_value_adds_an_image_mark(value):
    assert fill("{images} {instruction}", {"images": "<image>", "instruction": value}).count("<image>") == 1


@pytest.mark.parametrize(("has_before", "is_pair", "count"), [(0, 0, 1), (1, 0, 2), (0, 1, 2), (1, 1, 3)])
def test_every_image_has_its_mark(has_before, is_pair, count):
    text = render_semantics("{images} {instruction}", "x", has_before=bool(has_before), is_pair=bool(is_pair))
    assert text.count("<image>") == count


def test_a_template_without_its_fields_is_refused():
    with pytest.raises(ValueError, match=r"\{instruction\} once, found 0"):
        render_semantics("{images}", "a red box", has_before=True)


@pytest.mark.parametrize("bad", [Scores(11, 5), Scores(float("nan"), 5), Scores(True, 5), {"semantics": 1}, None])
def test_an_embedded_scorer_is_checked_too(bad):
    with pytest.raises(RubricError):
        check_scores(bad)
