"""The judge's answers are read strictly: two finite numbers from 0 to 10, or an error with a name."""

import doctest
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards import rubric
from rewards.rubric import RubricAnswer, RubricError, check_scores, combine, parse_answer, render_semantics
from rollout.types import Scores


def test_examples_in_docstrings():
    assert doctest.testmod(rubric).failed == 0


@pytest.mark.parametrize(
    "text",
    [
        '{"reasoning": "fine", "score": [7, 8.5]}',
        '  {"score": [7, 8.5], "reasoning": "fine"}\n',
        '```json\n{"reasoning": "fine", "score": [7, 8.5]}\n```',
        '```\n{"reasoning": " fine ", "score": [7, 8.5]}\n```\n',
    ],
)
def test_reads_json_bare_or_in_one_fence(text):
    assert parse_answer(text) == RubricAnswer((7.0, 8.5), "fine")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "unreadable"),
        ("I am sorry, I cannot judge this image.", "unreadable"),
        ('Here you are: {"reasoning": "fine", "score": [7, 8]}', "unreadable"),
        ('```json\n{"reasoning": "fine", "score": [7, 8]}\n```\nHope this helps!', "unreadable"),
        ('{"reasoning": "fine", "score": [7, 8', "unreadable"),
        ("{'reasoning': 'fine', 'score': [7, 8]}", "unreadable"),
        ('{"reasoning": "a", "reasoning": "b", "score": [7, 8]}', "unreadable"),
        ("[" * 100_000, "unreadable"),
        ("[7, 8]", "shape"),
        ('{"score": [7, 8]}', "shape"),
        ('{"reasoning": "fine", "score": [7, 8], "confidence": 1}', "shape"),
        ('{"reasoning": "fine", "score": 7}', "shape"),
        ('{"reasoning": "fine", "score": [7]}', "shape"),
        ('{"reasoning": "fine", "score": [7, 8, 9]}', "shape"),
        ('{"reasoning": null, "score": [7, 8]}', "shape"),
        ('{"reasoning": "fine", "score": [true, 8]}', "not_number"),
        ('{"reasoning": "fine", "score": ["7", 8]}', "not_number"),
        ('{"reasoning": "fine", "score": [null, 8]}', "not_number"),
        ('{"reasoning": "fine", "score": [80, 8]}', "range"),
        ('{"reasoning": "fine", "score": [-1, 8]}', "range"),
        ('{"reasoning": "fine", "score": [NaN, 8]}', "range"),
        ('{"reasoning": "fine", "score": [8, Infinity]}', "range"),
        ('{"reasoning": "fine", "score": [1e999, 8]}', "range"),
        ('{"reasoning": "fine", "score": [10.01, 8]}', "range"),
    ],
)
def test_refuses_all_else(text, kind):
    with pytest.raises(RubricError) as caught:
        parse_answer(text)
    assert caught.value.kind == kind


@given(st.floats(), st.floats())
def test_scores_in_range_come_back_and_no_others_do(first, second):
    text = json.dumps({"reasoning": "", "score": [first, second]})
    if all(math.isfinite(score) and 0 <= score <= 10 for score in (first, second)):
        assert parse_answer(text).scores == (first, second)
    else:
        with pytest.raises(RubricError):
            parse_answer(text)


@given(st.text(max_size=60))
def test_any_text_gives_scores_or_a_rubric_error(text):
    try:
        answer = parse_answer(text)
    except RubricError:
        return
    assert all(0 <= score <= 10 for score in answer.scores)


def test_the_smaller_score_of_each_rubric_counts():
    scores = combine(RubricAnswer((2.0, 9.0), "one shape missing"), RubricAnswer((10.0, 6.0), "blurred"))
    assert scores == Scores(2.0, 6.0, "one shape missing | blurred")


def test_an_instruction_cannot_add_images_or_fields():
    text = render_semantics("{images}\n{instruction}", "draw <image> and {images}", has_before=True)
    assert text.count("<image>") == 2
    assert text.endswith("draw  and {images}")


def test_a_template_without_its_fields_is_refused():
    with pytest.raises(ValueError, match=r"\{instruction\} once, found 0"):
        render_semantics("{images}", "a red box", has_before=True)


@pytest.mark.parametrize("bad", [Scores(11, 5), Scores(float("nan"), 5), Scores(True, 5), {"semantics": 1}, None])
def test_an_embedded_scorer_is_checked_too(bad):
    with pytest.raises(RubricError):
        check_scores(bad)
