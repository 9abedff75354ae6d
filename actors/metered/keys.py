"""Keys of paid services: read from the environment, refused there when they can be none, and never shown."""

from __future__ import annotations

import os
import re

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}|[A-Za-z_]{1,32}")
"""A name that is surely no key: one of mixed letters and digits might be."""
QUOTES = "“”„‟‘’‚‛«»″′\"'`"
_MIN_HIDDEN, _MIN_SURE = 6, 16
"""Characters of a key that is hidden in an error's text, and of one that cannot stand in an answer by chance.

Shorter ones are placeholders (`none`, `EMPTY`): to hide them would only spoil what is said.
"""


class Secret:
    """A string that no repr, log or traceback shows."""

    def __init__(self, value: str):
        self.value = value

    def __repr__(self) -> str:
        return "Secret(***)"

    def hidden_in(self, text: str, *, is_answer: bool = False) -> str:
        """Return a text with *** in the secret's place: an error may quote it, and an answer repeat it."""
        return text.replace(self.value, "***") if len(self.value) >= (_MIN_SURE if is_answer else _MIN_HIDDEN) else text


def read_key(variable: str, whose: str) -> Secret:
    """Return a key from the environment; `whose` is a recipe's section.

    Raises ValueError with the variable's name, and never shows what it holds.
    """
    key = os.environ.get(variable, "")
    if not key.strip():
        if not _VARIABLE.fullmatch(variable):
            raise ValueError(
                f"{whose}.api_key_env names no environment variable that is set (it is not shown, as it may be a key): "
                "give a variable's name, like OPENAI_API_KEY, not the key itself"
            )
        raise ValueError(
            f"{whose}: the key is missing: set the environment variable {variable} (any text for an endpoint without "
            f"keys), or name another one in {whose}.api_key_env or in its endpoint"
        )
    if why := why_no_key(key):
        raise ValueError(f"{whose}: the key in {variable} {why}; set it again")
    return Secret(key)


def why_no_key(key: str) -> str:
    """Say why a text cannot be a key, without showing it; empty where it can."""
    if any(quote in key for quote in QUOTES if not quote.isascii()):
        return "holds typographic quotation marks"
    if "\n" in key or "\r" in key:
        return "holds a line break"
    if key != key.strip():
        return "begins or ends with white space"
    if not key.isascii() or not key.isprintable():
        return "holds a character that is not printable ASCII"
    if len(key) > 1 and key[0] == key[-1] and key[0] in QUOTES:
        return "stands in quotation marks"
    return ""
