"""A JSON object around a list of records, like `{"data": [...]}`: where the list is, told by the file's beginning."""

from __future__ import annotations

import json
import re

from data.formats.strict_json import BOM

LISTS = ("data", "train", "validation", "test", "heldout", "records", "rows", "examples", "instances", "items")
"""Names of the list that are known."""
_FIELDS = {"origin_prompt", "edited_image_path", "messages", "request"}
"""Of records: an object that has one is a record and no wrapper."""
_KEY = re.compile(rb'\s*"((?:[^"\\]|\\.)*)"\s*:\s*', re.DOTALL)
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\s,{}\[\]"]+', re.DOTALL)
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_COMMA = re.compile(rb"\s*,")
_OF_OBJECTS = re.compile(rb"\[\s*(?:\{|\])")
_NEXT_LIST = re.compile(rb'\s*,\s*"([^"]*)"\s*:\s*\[\s*\{')


def find_list(head: bytes) -> tuple[str, int] | None:
    """Return the name of the list of records in the object that a file is, and its offset; None: the file is no such.

    >>> find_list(b'{"version": 1, "data": [{"messages": []}]}'), find_list(b'{"messages": []}\\n{"messages": []}')
    (('data', 23), None)
    """
    start = len(BOM) if head.startswith(BOM) else 0
    if not head[start:].lstrip().startswith(b"{") or _is_lines(head[start:].lstrip()):
        return None
    place = head.index(b"{") + 1
    while (key := _KEY.match(head, place)) is not None:
        name, place = key[1].decode(errors="replace"), key.end()
        if name in _FIELDS:
            return None
        if name in LISTS and _OF_OBJECTS.match(head, place):
            return name, place
        end = _end_of_value(head, place)
        comma = _COMMA.match(head, end) if end else None
        if comma is None:
            return None
        place = comma.end()
    return None


def fault_behind(tail: bytes, name: str) -> str:
    """Return what is wrong with what stands behind the list `name` in its object; nothing: no more than settings."""
    other = _NEXT_LIST.match(tail)
    if other is not None:
        second = other[1].decode(errors="replace")
        return f"the list {second} stands beside the list {name}; write each into a file of its own"
    try:
        json.loads(b'{"": 0' + tail)
    except ValueError:
        return f"the object around the list {name} does not end as JSON does"
    return ""


def _is_lines(text: bytes) -> bool:
    """Say whether a file has an object a line: its first line is one, and more follows or it is a record itself."""
    line, _, rest = text.partition(b"\n")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return not isinstance(value, dict) or bool(rest.strip()) or not _FIELDS.isdisjoint(value)


def _end_of_value(head: bytes, place: int) -> int:
    """Return where the value at `place` ends, 0 where that is beyond the beginning of the file."""
    if (scalar := _SCALAR.match(head, place)) is not None:
        return scalar.end()
    depth = 0
    for mark in _MARK.finditer(head, place):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(mark[0], 0)
        if depth <= 0:
            return mark.end()
    return 0
