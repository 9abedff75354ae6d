"""Keys of paid services: read from the environment, refused if they cannot be keys, and never shown."""

import os
import re

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}|[A-Za-z_]{1,32}")
"""A name that is surely not a key: mixed-case letters with digits might be one."""
QUOTES = "“”„‟‘’‚‛«»″′\"'`"
_MIN_HIDDEN, _MIN_SURE = 6, 16
"""Minimum length of a key to hide in an error's text, and in an answer, where a shorter one may occur by chance.

Shorter ones are placeholders (`none`, `EMPTY`): hiding them would only garble the text.
"""


class Secret:
    """A string that no repr, log or traceback shows."""

    def __init__(self, value: str):
        self.value = value

    def __repr__(self) -> str:
        return "Secret(***)"

    def hidden_in(self, text: str, *, is_answer: bool = False) -> str:
        """Return a text with *** in place of the secret: an error may quote it, and an answer may repeat it."""
        return text.replace(self.value, "***") if len(self.value) >= (_MIN_SURE if is_answer else _MIN_HIDDEN) else text


def read_key(variable: str, whose: str) -> Secret:
    """Return a key from the environment; `whose` is a recipe's section.

    Raises ValueError with the variable's name, but never its value.
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
    """Return why a text cannot be a key, without showing it; '' if it can."""
    if any(quote in key for quote in QUOTES if not quote.isascii()):
        return "holds typographic quotation marks"
    if "\n" in key or "\r" in key:
        return "holds a line break"
    if key != key.strip():
        return "begins or ends with white space"
    if not key.isascii() or not key.isprintable():
        return "holds a character that is not printable ASCII"
    if len(key) > 1 and key[0] == key[-1] and key[0] in QUOTES:
        return "is in quotation marks"
    return ""
