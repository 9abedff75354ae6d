"""The critic's prompt and its strict parser."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.text.critique import CritiqueError, format_critique, parse_critique, render_messages
from rollout.types import Critique
from tests.support.fakes import make_task

TEXT = st.text().filter(lambda text: "<" not in text)


@given(st.booleans(), TEXT.filter(str.strip), TEXT)
def test_what_is_formatted_is_read_back(is_success, prompt, thought):
    critique = Critique(is_success, prompt.strip(), thought.strip())
    assert parse_critique(format_critique(critique)) == critique


def test_a_tag_in_a_prompt_does_not_end_the_answer():
    critique = Critique(False, "write </answer> on <think> the box", "no tag")
    assert parse_critique(format_critique(critique)) == critique
    with pytest.raises(ValueError, match="thought may not hold any of <think>"):
        format_critique(Critique(False, "a box", "so </think> it is"))


@given(st.text())
def test_any_text_is_a_critique_or_a_named_error(text):
    for wrapped in (text, f"<think>{text}</think><answer>{text}</answer>"):
        with contextlib.suppress(CritiqueError):
            assert parse_critique(wrapped).refine_prompt


GOOD = {"previous_step_success": False, "refine_prompt": "a box"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("it is fine", "tags"),
        (f"<answer>{json.dumps(GOOD)}</answer>", "tags"),
        (f"<think>x</think><answer>{json.dumps(GOOD)}</answer> and more", "tags"),
        (f"<think>x<think>y</think><answer>{json.dumps(GOOD)}</answer>", "repeated_tags"),
        (f"<think>x</think> and more </think><answer>{json.dumps(GOOD)}</answer>", "repeated_tags"),
        ("<think>x</think><answer>{'previous_step_success': false}</answer>", "json"),
        ('<think>x</think><answer>{"refine_prompt": "a", "refine_prompt": "b"}</answer>', "json"),
        ("<think>x</think><answer>[1]</answer>", "not_object"),
        (f"<think>x</think><answer>{json.dumps({**GOOD, 'extra': 1})}</answer>", "keys"),
        (f"<think>x</think><answer>{json.dumps({**GOOD, 'previous_step_success': 0})}</answer>", "type"),
        (f"<think>x</think><answer>{json.dumps({**GOOD, 'refine_prompt': '  '})}</answer>", "empty_prompt"),
        ("<think>x</think><answer>" + "[" * 100_000 + "</answer>", "json"),
    ],
)
def test_broken_answers_are_errors_by_kind(answer, kind):
    with pytest.raises(CritiqueError) as caught:
        parse_critique(answer)
    assert caught.value.kind == kind


def test_the_prompt_has_both_images_in_order_and_the_fields():
    system, user = render_messages("be strict\n---\nA <image> B <image> do {instruction} with {prompt}", make_task(1))
    assert system == {"role": "system", "content": [{"type": "text", "text": "be strict"}]}
    assert [part["type"] for part in user["content"]] == ["text", "image", "text", "image", "text"]
    assert user["content"][-1]["text"] == " do a red box with a red box"


def test_a_prompt_without_two_images_is_refused():
    with pytest.raises(ValueError, match="needs 2 <image> marks"):
        render_messages("only one <image>", make_task(1))
