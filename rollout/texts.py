"""Texts from strangers and from models."""

from __future__ import annotations


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
