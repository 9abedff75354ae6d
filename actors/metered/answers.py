"""Reads the answers of OpenAI-compatible endpoints field by field: servers omit, add and alter many fields.

The client checks nothing: any field may be missing, null or of another type than OpenAI's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from actors.metered.retry import CallError, Fault
from rewards.judging.rubric import RubricError
from rollout.text.type_names import json_type

_TOKENS_IN, _TOKENS_OUT = ("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")
_MAX_TOKENS = 10**12
"""Limit for one answer: a larger number is not a count."""
MAX_SAID = 5000
"""Characters of what a server says; far more than an error shows, so that a key in them is hidden before it is cut."""
_STREAM = ("data:", "event:", ":")
"""How a line of server-sent events begins."""
_TRUNCATED = ("length", "max_tokens")
_REFUSED = ("content_filter", "safety")
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning", "thought")
_TEXTS = (None, "text", "output_text")
_REASONS = ("error", "errors", "detail", "message", "msg", "reason")
"""Fields in which servers say why they did not answer, under an HTTP status that says they did."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a server counted."""

    tokens_in: int
    tokens_out: int
    is_whole: bool
    """False: a count was missing or invalid."""


def field_of(owner: object, name: str) -> object:
    """Return a field of an object or mapping; None if it has none."""
    return owner.get(name) if isinstance(owner, Mapping) else getattr(owner, name, None)


def is_no_object(value: object) -> bool:
    """Whether a value is there and has no fields."""
    return isinstance(value, (str, list, int, float))


def usage_of(answer: object) -> Usage:
    """Return what an answer's `usage` counts; raises nothing, since an answer must not be lost over it.

    >>> usage_of({"usage": {"prompt_tokens": "12", "completion_tokens": 3}})
    Usage(tokens_in=12, tokens_out=3, is_whole=True)
    >>> usage_of({"usage": {"prompt_tokens": -1, "completion_tokens": 3}})
    Usage(tokens_in=0, tokens_out=3, is_whole=False)
    """
    usage = field_of(answer, "usage")
    given = [_first(usage, names) for names in (_TOKENS_IN, _TOKENS_OUT)]
    tokens_in, tokens_out = (_count_of(value) for value in given)
    is_whole = any(value is not None for value in given) and all(
        value is None or count is not None for value, count in zip(given, (tokens_in, tokens_out), strict=True)
    )
    return Usage(tokens_in or 0, tokens_out or 0, is_whole)


def fields_of(answer: object) -> object:
    """Return an answer with its objects as mappings, whether the client made classes of them or not."""
    if isinstance(answer, list):
        return [fields_of(item) for item in answer]
    # Servers send values of other types than the client expects, of which it would warn.
    return answer.model_dump(warnings=False) if hasattr(answer, "model_dump") else answer


def said_in(answer: object) -> str:
    """Return what an answer that lacks what was asked for says: its reason, else the fields that it has.

    >>> said_in({"id": None, "detail": "out of memory"}), said_in({"id": None, "data": []}), said_in(None)
    ("detail: 'out of memory'", "{'data': []}", 'null')
    """
    fields = fields_of(answer)
    if not isinstance(fields, Mapping):
        return "null" if fields is None else repr(str(fields)[:MAX_SAID])
    given = {name: value for name, value in fields.items() if value is not None}
    reason = next((name for name in _REASONS if given.get(name)), None)
    return (str(given) if reason is None else f"{reason}: {given[reason]!r}")[:MAX_SAID]


def is_stream(answer: object) -> bool:
    """Whether a server sent a stream of events, though asked for one object: it would do so again."""
    return isinstance(answer, str) and answer.lstrip().startswith(_STREAM)


def is_cut(finish_reason: object) -> bool:
    """Whether an answer ended because it had as many tokens as it may have."""
    return str(finish_reason).lower() in _TRUNCATED


def text_of(completion: object) -> str:
    """Return the text of a chat completion.

    A field that is missing, null or empty is a `RubricError`: a server under load leaves some out, and the next answer
    may have it. One of another type is a `CallError` that is not retried: the server would send the like each time.
    """
    choices = field_of(completion, "choices")
    if choices and not isinstance(choices, list):
        _refuse(f"choices is {json_type(choices)}, expected a list")
    if not isinstance(choices, list) or not choices:
        if is_stream(completion):
            _refuse("the endpoint sent a stream of events, expected one JSON object: ask it for no stream")
        raise RubricError("unreadable", f"the endpoint sent no completion, but {said_in(completion)}")
    choice = choices[0]
    if is_no_object(choice):
        _refuse(f"choices[0] is {json_type(choice)}, expected an object with a message")
    message, finish = field_of(choice, "message"), str(field_of(choice, "finish_reason") or "").lower()
    if message is None and isinstance(field_of(choice, "text") or field_of(choice, "delta"), (str, Mapping)):
        _refuse("choices[0] has no message: this is no chat completion, but a completion or a piece of a stream")
    if message is None:
        raise RubricError("unreadable", f"choices[0].message is null in {said_in(completion)}")
    if said := field_of(choice, "error"):
        raise RubricError("unreadable", f"the endpoint broke off with an error: {str(said)[:MAX_SAID]}")
    if is_no_object(message):
        _refuse(f"choices[0].message is {json_type(message)}, expected an object with content")
    if (refusal := field_of(message, "refusal")) or finish in _REFUSED:
        raise RubricError("refusal", str(refusal or "filtered")[:200])
    if is_cut(finish):
        raise RubricError("truncated", "the answer hit max_tokens: raise it in judge.call")
    return _content_of(message)


def _content_of(message: object) -> str:
    content = field_of(message, "content")
    if isinstance(content, str) and content:
        return content
    if not content and not isinstance(content, (bool, int, float, Mapping)):
        if thought := field_of(message, "reasoning_content") or field_of(message, "reasoning"):
            raise RubricError("unreadable", f"content is empty, the whole answer is a thought: {str(thought)[:200]!r}")
        if field_of(message, "tool_calls") or field_of(message, "function_call"):
            raise RubricError("unreadable", "content is empty: the model called a tool instead of answering")
        return ""
    if isinstance(content, list):
        return "".join(map(_text_of_part, content))
    _refuse(f"message.content is {json_type(content)}, expected a text or a list of text parts")


def _text_of_part(part: object) -> str:
    kind, text = field_of(part, "type"), part if isinstance(part, str) else field_of(part, "text")
    if isinstance(text, Mapping):
        text = text.get("value")  # the form of OpenAI's assistants
    if kind in _THOUGHTS:
        return ""
    if kind == "refusal":
        raise RubricError("refusal", str(field_of(part, "refusal"))[:200])
    if kind not in _TEXTS or not isinstance(text, str):
        _refuse(f"message.content has a part of type {kind or type(part).__name__!r}, expected texts alone")
    return text


def _refuse(shape: str) -> NoReturn:
    raise CallError(Fault("answer_shape", shape[:400], is_retryable=False))


def _first(owner: object, names: tuple[str, ...]) -> object:
    return next((value for name in names if (value := field_of(owner, name)) is not None), None)


def _count_of(value: Any) -> int | None:
    """Return a number of tokens; None if the value is not one."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 20:
        value = int(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value < _MAX_TOKENS else None  # NaN fails both comparisons
