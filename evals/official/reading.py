"""What judges' answers have in common: a thought before them, JSON with words or a fence around it."""

import json
import re
from collections.abc import Iterator

from evals.official.benchmark import Unreadable

_FENCED = re.compile(r"```(?:json)?\s*(\{.*?\})\s*```", re.DOTALL)
_FLAT = re.compile(r"\{[^{}]*\}", re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?</think>\s*|</think>\s*", re.DOTALL)
_LONE_BACKSLASH = re.compile(r'(?<!\\)\\(?!["\\/bfnrtu])')


def without_thought(text: str) -> str:
    """Return an answer without the thought before it.

    >>> without_thought("<think>hm</think> Score: 1")
    'Score: 1'
    """
    return _THOUGHT.sub("", text).strip()


def json_object(text: str, key: str) -> dict[str, object]:
    r"""Return the object in an answer: a fenced one, a flat one that names `key`, or all from the first brace on.

    Raises `Unreadable`.

    >>> json_object('It is {so}: {"met": true} indeed', "met")
    {'met': True}
    """
    for candidate in _candidates(text, key):
        for written in (candidate, _LONE_BACKSLASH.sub(r"\\\\", candidate)):
            try:
                found = json.loads(written)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
    raise Unreadable(f"no JSON object in the answer {text[:200]!r}")


def _candidates(text: str, key: str) -> Iterator[str]:
    yield from _FENCED.findall(text)[:1]
    yield from [flat for flat in _FLAT.findall(text) if f'"{key}"' in flat][:1]
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        yield text[start : end + 1]
