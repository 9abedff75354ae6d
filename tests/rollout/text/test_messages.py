"""Image marks become parts of a message in one way, wherever a text comes from."""

from hypothesis import given
from hypothesis import strategies as st

from rollout.text.critique import render_messages
from rollout.text.messages import as_texts, message_parts
from rollout.text.plan import render_request
from rollout.types import Attempt

PIECES = st.lists(st.sampled_from(["<image>", "a box", "<ima", "ge>", "\n", "<image><image>"])).map("".join)


@given(PIECES)
def test_parts_say_the_same_as_the_text(text):
    parts = message_parts(text)
    assert sum(part["type"] == "image" for part in parts) == text.count("<image>")
    assert as_texts([{"role": "user", "content": parts}])[0]["content"] == text
    assert all(part.get("text", "x") for part in parts)


def test_a_mark_in_a_value_is_no_image_and_an_emptied_text_is_no_part():
    assert message_parts("a<image>b", lambda text: "<image>" if text == "a" else "") == [
        {"type": "text", "text": "<image>"},
        {"type": "image"},
    ]


def test_a_version_line_is_no_part_of_what_a_model_is_asked():
    shown = Attempt(1, 1, "a box", "", 0)
    critic = "be strict\n---\n<image> <image> {instruction}"
    assert render_messages(f"# version: 2\n{critic}", shown) == render_messages(critic, shown)
    assert render_request("# version: 2\nplan {request}", "x") == render_request("plan {request}", "x")
