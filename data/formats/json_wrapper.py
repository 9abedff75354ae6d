"""A JSON object around a list of records, like `{"data": [...]}`: find the list from the file's beginning."""

import json
import re

from data.formats.strict_json import BOM

LISTS = ("data", "train", "validation", "test", "heldout", "records", "rows", "examples", "instances", "items")
"""Known names of the list."""
_FIELDS = {"origin_prompt", "edited_image_path", "messages", "request"}
"""Fields of records: an object that has one is a record, not a wrapper."""
_KEY = re.compile(rb'\s*"((?:[^"\\]|\\.)*)"\s*:\s*', re.DOTALL)
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.)*"|[^\s,{}\[\]"]+', re.DOTALL)
_MARK = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_COMMA = re.compile(rb"\s*,")
_OF_OBJECTS = re.compile(rb"\[\s*(?:\{|\])")
_NEXT_LIST = re.compile(rb'\s*,\s*"([^"]*)"\s*:\s*\[\s*\{')


def find_list(head: bytes) -> tuple[str, int] | None:
    """Return the name and byte offset of the list of records in a file's object; None: there is no such list.

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
    """Return what is wrong with what follows the list `name` in its object; empty if only settings follow."""
    other = _NEXT_LIST.match(tail)
    if other is not None:
        second = other[1].decode(errors="replace")
        return f"the list {second} is next to the list {name}; write each to its own file"
    try:
        json.loads(b'{"": 0' + tail)  # the object, with a number in place of the list
    except (ValueError, RecursionError):
        return f"the object around the list {name} does not end as JSON does"
    return ""


def _is_lines(text: bytes) -> bool:
    """Return whether a file has one object per line: the first line is one, and more follows or it is a record."""
    line, _, rest = text.partition(b"\n")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return not isinstance(value, dict) or bool(rest.strip()) or not _FIELDS.isdisjoint(value)


def _end_of_value(head: bytes, place: int) -> int:
    """Return where the value at `place` ends; 0 if that is beyond `head`."""
    if (scalar := _SCALAR.match(head, place)) is not None:
        return scalar.end()
    depth = 0
    for mark in _MARK.finditer(head, place):
        depth += {b"{": 1, b"[": 1, b"}": -1, b"]": -1}.get(mark[0], 0)
        if depth <= 0:
            return mark.end()
    return 0
