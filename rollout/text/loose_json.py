"""What a model wrote in place of JSON, rewritten as JSON: Python literals, and slips inside of strings.

One pass over the text, a token at a time, up to the end of the object that it begins with. Nothing is evaluated and
nothing is filled in: `json` reads the result, and what it does not read is refused.
"""

import json
import re
from enum import StrEnum


class Leniency(StrEnum):
    """In what an answer differs from the contract, and is read all the same by the reader `public`."""

    NO_THINK = "no_think"
    """There is no `<think>`: what stands before the answer is the thought, if anything."""
    NO_TAGS = "no_tags"
    """The answer stands in no tags."""
    MISSING_TAG = "missing_tag"
    """One tag of a pair is missing."""
    FENCE = "fence"
    """The object stands in a fence."""
    TEXT_AFTER = "text_after"
    """Text follows the answer; it is left out."""
    LITERAL = "literal"
    """The object is a Python literal: True, None, single quotes."""
    TRAILING_COMMA = "trailing_comma"
    NEWLINE = "newline"
    """A string holds a line break, or another control character, as it is."""
    APOSTROPHE = "apostrophe"
    """A string holds the quotation mark that it stands in."""
    EXTRA_KEY = "extra_key"
    """The object has keys that nobody asked for; they are left out."""
    NO_STEP_NAME = "no_step_name"
    """A step of a plan has no name: it is called by its number."""
    NONE_TEXT = "none_text"
    """A text of a plan is the word None: there is none."""
    EMPTY_PROMPT = "empty_prompt"
    """A success has an empty prompt: it keeps the one of the attempt."""


SPACE = " \t\n\r"
"""What JSON has between its parts."""
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}
_TOKEN = re.compile(rf"[{SPACE}]+|[\[\]{{}}:,]|[A-Za-z]+|-?\d[\d.eE+-]*")
_QUOTED = r"""(?:"[^"]*"|'[^']*')"""
_AFTER = {
    "key": re.compile(r"\s*:"),
    "{": re.compile(rf"\s*(?:\}}|,\s*(?:\}}|{_QUOTED}\s*:))"),
    "[": re.compile(r"\s*[,\]]"),
}
"""What follows the end of a key, of a value in an object, of one in a list; a mark before anything else is text."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|U(00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})|(.))", re.DOTALL)
"""An escape: JSON's code, Python's codes, or a letter."""
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": "", '"': '"', "'": "'", "\\": "\\", "/": "/"}
_CONTROL = re.compile(r"[\x00-\x1f]")
_ESCAPED_IN_JSON = frozenset('"\\/bfnrt')


def as_json(text: str) -> tuple[str, str, set[Leniency]]:
    """Return the object that a text begins with as JSON, what follows it, and what was rewritten.

    Raises ValueError for what cannot be one.

    >>> as_json("{'prompt': 'a box', 'success': True,} Done.")[:2]
    ('{ "prompt" : "a box" , "success" : true }', ' Done.')
    """
    out: list[str] = []
    open_brackets: list[str] = []
    used: set[Leniency] = set()
    place = 0
    while place < len(text):
        if text[place] in "\"'":
            inside = open_brackets[-1] if open_brackets else "["
            kind = "key" if inside == "{" and out[-1] in ("{", ",") else inside
            end = _end_of_string(text, place, _AFTER[kind])
            out.append(json.dumps(_string(text[place + 1 : end], text[place], used)))
            place = end + 1
        elif (token := _TOKEN.match(text, place)) is not None:
            word, place = token.group(), token.end()
            if word in _CONSTANTS:
                used.add(Leniency.LITERAL)
                word = _CONSTANTS[word]
            if word in ("{", "["):
                open_brackets.append(word)
            elif word in ("}", "]"):
                if not open_brackets:
                    raise ValueError(f"{word} closes nothing")
                open_brackets.pop()
                if out[-1] == ",":
                    used.add(Leniency.TRAILING_COMMA)
                    out.pop()
            if not word.isspace():
                out.append(word)
        else:
            raise ValueError(f"unexpected {text[place]!r} at character {place}")
        if out and not open_brackets:
            return " ".join(out), text[place:], used
    raise ValueError("it ends before its object does")


def _end_of_string(text: str, start: int, after: re.Pattern[str]) -> int:
    """Return where the string ends that begins at `start`: at its mark, where what follows may follow a string."""
    mark, place = text[start], start + 1
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text[place] == mark and after.match(text, place + 1):
            return place
        place += 1
    raise ValueError(f"the string at character {start} does not end")


def _string(raw: str, mark: str, used: set[Leniency]) -> str:
    """Return the text that stands between two marks in JSON or in Python; add what is none of JSON's."""
    bare = _ESCAPE.sub("", raw)
    if mark in bare:
        used.add(Leniency.APOSTROPHE)
    if _CONTROL.search(bare):
        used.add(Leniency.NEWLINE)
    if mark == "'" or any(not (escape[1] or escape[4] in _ESCAPED_IN_JSON) for escape in _ESCAPE.finditer(raw)):
        used.add(Leniency.LITERAL)
    return _ESCAPE.sub(_unescaped, raw)


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2] or escape[3]
    return chr(int(code, 16)) if code else _ESCAPED.get(escape[4], escape[0])
