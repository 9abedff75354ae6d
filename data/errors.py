"""What is wrong with a record: one error type, located, with a short name to count by."""

from __future__ import annotations

import reprlib

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


class RecordError(ValueError):
    """A record (or a whole file) is not what the schema says; the message names file, line or row, and field."""

    def __init__(self, kind: str, text: str, *, where: str = ""):
        # What a hostile file holds is printed: no line breaks, no terminal control, no half characters.
        self.text = text if text.isprintable() else text.encode("unicode_escape").decode()
        self.kind = kind
        self.where = where
        super().__init__(f"{where}: {self.text}" if where else self.text)

    def at(self, where: str) -> RecordError:
        """Return the same error with its place."""
        return RecordError(self.kind, self.text, where=where)


def shown(value: object) -> str:
    """Return a value as a message may hold it: short, whatever its size.

    >>> shown("a" * 1000) == shown("a" * 1000)[:80] and len(shown("a" * 1000))
    80
    """
    return _SHORT.repr(value)


def type_error(field: str, value: object, expected: str) -> RecordError:
    """Return the error for a field of the wrong type."""
    return RecordError("type", f"field {field} is a {type(value).__name__}, expected {expected}")
