"""What a value that came as JSON is called in a message."""

from __future__ import annotations

_NAMES = {
    "bool": "a boolean",
    "dict": "an object",
    "float": "a number",
    "int": "a number",
    "list": "a list",
    "NoneType": "null",
    "str": "a string",
}


def json_type(value: object) -> str:
    """Return the type of a value by its name in JSON, with an article; of another type, by that of Python.

    >>> json_type(3), json_type(None), json_type({}), json_type(b"")
    ('a number', 'null', 'an object', 'a value of type bytes')
    """
    name = type(value).__name__
    return _NAMES.get(name, f"a value of type {name}")
