"""What a user's code may raise and return: exceptions and values that cannot say what they are, or nothing to write."""

HALF = "half \ud83d"
"""Holds half a character, which cannot be encoded."""
HALF_TOLD = r"half \ud83d"


class UnsayableError(Exception):
    def __str__(self):
        raise OSError("no text")


class Unshown:
    def __repr__(self):
        raise OSError("no text")
