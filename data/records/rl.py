"""RL records: one recorded attempt each, checked on load with file, line and field in the error.

`{"origin_prompt", "rewritten_prompt", "origin_image_path", "edited_image_path", "evaluation": {"success",
"semantics", "quality"}}` and, optionally, `id` and `version`. A null `origin_image_path` means that the step began
with nothing: the critic sees a white canvas. An empty or absent `rewritten_prompt` means that the original prompt was
used. In Parquet an image may be an image column of the hub, `{"bytes", "path"}`.
"""

from types import UnionType
from typing import Any

from data.errors import RecordError, shown, type_error
from data.records.field_names import check_names
from data.records.image_bytes import path_in
from data.records.image_paths import ImageResolver
from rollout.text.marks import special_tokens_in
from rollout.text.type_names import json_type
from rollout.types import Scores, Task

VERSION = 1
"""Version of all record schemas; a record without `version` has this one."""
MAX_SCORE = 10
_NEEDED = ("origin_prompt", "edited_image_path", "evaluation")
_OPTIONAL = ("rewritten_prompt", "origin_image_path")


def read_task(record: Any, places: ImageResolver, *, default_id: str) -> Task:
    """Return the task that a record describes. Raises `RecordError`, without a location."""
    check_object(record)
    check_names(record, _NEEDED, _OPTIONAL)
    evaluation = required(record, "evaluation", dict, "an object")
    instruction = text_of(record, "origin_prompt")
    if not instruction.strip():
        raise RecordError("empty", "field origin_prompt is empty")
    before = path_in(record.get("origin_image_path"))
    after = places.find(required(record, "edited_image_path", str | dict | bytes, "a path"), "edited_image_path")
    if after is None:
        raise RecordError("canvas", "field edited_image_path is the white canvas, expected the image that was made")
    is_success = evaluation.get("success")
    if not isinstance(is_success, bool):
        required(evaluation, "success", bool, "true or false", inside="evaluation: ")
    return Task(
        id=id_of(record, default_id),
        instruction=instruction,
        prompt="" if record.get("rewritten_prompt") is None else text_of(record, "rewritten_prompt"),
        before=None if before is None else places.find(before, "origin_image_path"),
        after=after,
        is_success=is_success,
        scores=Scores(_score(evaluation, "semantics"), _score(evaluation, "quality")),
    )


def check_object(record: object) -> None:
    """Raise `RecordError` unless a record is an object of a known version."""
    if not isinstance(record, dict):
        raise RecordError("not_object", f"expected an object, found {json_type(record)}")
    version = record.get("version")
    if version is not None and (version != VERSION or isinstance(version, bool)):
        raise RecordError("version", f"field version is {shown(version)}; this reader knows version {VERSION}")


def required(record: dict[str, object], name: str, kind: type | UnionType, expected: str, *, inside: str = "") -> Any:
    """Return a field that must be there and have the right type. Raises `RecordError`."""
    if name not in record:
        raise RecordError("missing", f"{inside}field {name} is missing")
    value = record[name]
    if not isinstance(value, kind):
        raise RecordError("type", f"{inside}{type_error(name, value, expected).text}")
    return value


def text_of(record: dict[str, object], name: str) -> str:
    """Return a text field without anything that `check_text` rejects."""
    text: str = required(record, name, str, "a string")
    check_text(text, name)
    return text


def check_text(text: str, field: str) -> None:
    """Raise `RecordError` for lone surrogates and control tokens: one may announce an image that is not there."""
    check_unicode(text, field)
    if "<|" in text and (special := special_tokens_in(text)):
        tokens = ", ".join(special[:3])
        raise RecordError(
            "special_token", f"field {field} holds {tokens}, which models read as control tokens; take it out"
        )


def check_unicode(text: str, field: str) -> None:
    """Raise `RecordError` for a lone surrogate, which no tokenizer accepts."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RecordError("unicode", f"field {field} holds half a character (a lone surrogate)") from None


def id_of(record: dict[str, object], default: str) -> str:
    """Return a record's own id (text or integer) as text, or else `default`."""
    value = record.get("id")
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise type_error("id", value, "a string or a whole number")
    if value == "":
        raise RecordError("empty", "field id is empty")
    check_unicode(str(value), "id")
    return str(value)


def _score(evaluation: dict[str, object], name: str) -> float:
    value = evaluation.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SCORE:
        raise RecordError("score", f"evaluation: field {name} is {shown(value)}, expected a number from 0 to 10")
    return float(value)
