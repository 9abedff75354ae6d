"""Chat messages with image parts, and the plain texts with image marks that records and endpoints have."""

from collections.abc import Callable, Sequence
from typing import Any

from rollout.text.marks import IMAGE_MARK

Message = dict[str, Any]
"""`role` and `content`: a text, or parts `{"type": "image"}` and `{"type": "text", "text": ...}`."""


def message_parts(text: str, fill: Callable[[str], str] = str) -> list[dict[str, str]]:
    """Return a text as the parts of a message, an image at each mark; `fill` is put to the texts between the marks.

    >>> message_parts("<image>a box?")
    [{'type': 'image'}, {'type': 'text', 'text': 'a box?'}]
    """
    parts: list[dict[str, str]] = []
    for place, piece in enumerate(map(fill, text.split(IMAGE_MARK))):
        if place > 0:
            parts.append({"type": "image"})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts


def chat(system: str, parts: list[dict[str, str]]) -> tuple[Message, ...]:
    """Return the messages that ask a model: the user's parts, after a system message where there is one."""
    user = {"role": "user", "content": parts}
    if not system:
        return (user,)
    return ({"role": "system", "content": [{"type": "text", "text": system}]}, user)


def as_texts(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return the messages with a mark for each image. Raises ValueError where a text holds a mark of its own.

    >>> as_texts([{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a box?"}]}])
    [{'role': 'user', 'content': '<image>a box?'}]
    """
    return [
        {"role": message["role"], "content": "".join(_text_of(part) for part in message["content"])}
        for message in messages
    ]


def _text_of(part: dict[str, str]) -> str:
    if part["type"] == "image":
        return IMAGE_MARK
    if IMAGE_MARK in part["text"]:
        raise ValueError(f"a text holds {IMAGE_MARK}, which marks an image")
    return part["text"]
