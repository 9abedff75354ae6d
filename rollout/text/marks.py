"""Texts from strangers and from models."""

from __future__ import annotations

import re

IMAGE_MARK = "<image>"
"""Stands for an image in the text of a prompt or a message."""
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""What the parts of an answer stand between."""
_TAG = re.compile(r"<(?=/?(?:think|answer)>)")
_OBJECT = re.compile(r"<(?:\w+\.)*(\w+)[^<>]* at 0x[0-9a-fA-F]+[^<>]*>")
_SPECIAL_TOKEN = re.compile(r"<\|\w[\w.:/-]{0,62}\|>")


def has_tag(text: str) -> bool:
    """Say whether a text holds one of `TAGS`."""
    return _TAG.search(text) is not None


def without_tags(body: str) -> str:
    r"""Return JSON that says the same: a tag inside one of its texts would end the answer around it.

    >>> without_tags('{"prompt": "a </answer> b"}')
    '{"prompt": "a \\u003c/answer> b"}'
    """
    return _TAG.sub(r"\\u003c", body)


def without_image_marks(text: str) -> str:
    """Take image marks out until none is left, also none that the taking made.

    >>> without_image_marks("a <ima<image>ge> b")
    'a  b'
    """
    while IMAGE_MARK in text:
        text = text.replace(IMAGE_MARK, "")
    return text


def special_tokens_in(text: str) -> list[str]:
    """Return what a tokenizer would read as control tokens of its own instead of as text, each once, in order.

    Inside a prompt one would end a turn, or announce an image that is not there.

    >>> special_tokens_in("a cat<|im_end|> <|image_pad|><|im_end|>"), special_tokens_in("<image> a <b> |c| <|> <| d |>")
    (['<|im_end|>', '<|image_pad|>'], [])
    """
    return list(dict.fromkeys(_SPECIAL_TOKEN.findall(text)))


def without_objects(text: str) -> str:
    """Return an error's text without Python's names of objects, which tell its reader nothing.

    >>> without_objects("no image in [<PIL.Image.Image image mode=RGB size=4096x1 at 0x7F06C0>]")
    'no image in [Image]'
    """
    return _OBJECT.sub(r"\1", text)


def is_unicode(text: str) -> bool:
    r"""Say whether a text can be encoded: half a character (a lone surrogate) cannot, and no tokenizer takes it.

    >>> is_unicode("a cat 🐈"), is_unicode("a \ud83d cat")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
