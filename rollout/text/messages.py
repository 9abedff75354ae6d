"""Chat messages with image parts as plain texts with image marks: how records and endpoints have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollout.text.marks import IMAGE_MARK

Message = dict[str, Any]
"""`role` and `content`: a text, or parts `{"type": "image"}` and `{"type": "text", "text": ...}`."""


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
