"""Texts from strangers and from models."""

from __future__ import annotations

import re

IMAGE_MARK = "<image>"
"""Stands for an image in the text of a prompt or a message."""
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
"""What the parts of an answer stand between."""
_TAG = re.compile(r"<(?=/?(?:think|answer)>)")


def has_tag(text: str) -> bool:
    """Say whether a text holds one of `TAGS`."""
    return _TAG.search(text) is not None


def without_tags(body: str) -> str:
    r"""Return JSON that says the same: a tag inside one of its texts would end the answer around it.

    >>> without_tags('{"prompt": "a </answer> b"}')
    '{"prompt": "a \\u003c/answer> b"}'
    """
    return _TAG.sub(r"\\u003c", body)


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
