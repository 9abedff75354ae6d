"""The error for a bad record: it has a location, and a short kind to count by."""

from __future__ import annotations

import reprlib

from rollout.text.type_names import json_type

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


class RecordError(ValueError):
    """A record (or a whole file) violates the schema; the message names file, line or row, and field."""

    def __init__(self, kind: str, text: str, *, where: str = ""):
        # Hostile text gets printed: escape line breaks, terminal control and lone surrogates.
        self.text = text if text.isprintable() else text.encode("unicode_escape").decode()
        self.kind = kind
        self.where = where
        super().__init__(f"{where}: {self.text}" if where else self.text)

    def at(self, where: str) -> RecordError:
        """Return the same error with its location."""
        return RecordError(self.kind, self.text, where=where)


def shown(value: object) -> str:
    """Return a short repr of a value for a message, however large the value is.

    >>> shown("a" * 1000) == shown("a" * 1000)[:80] and len(shown("a" * 1000))
    80
    """
    return _SHORT.repr(value)


def type_error(field: str, value: object, expected: str) -> RecordError:
    """Return the error for a field of the wrong type."""
    return RecordError("type", f"field {field} is {json_type(value)}, expected {expected}")
