"""Exceptions and values of a user's code always come to a text, and to one that can be written."""

from rollout.text.foreign import error_text, value_text
from tests.support.unsayable import HALF, HALF_TOLD, UnsayableError, Unshown


def test_what_cannot_say_itself_is_named():
    assert error_text(UnsayableError()) == "its __str__ raises OSError"
    assert value_text(Unshown()) == "a Unshown (its __repr__ raises OSError)"
    assert error_text(type("NoText", (Exception,), {"__str__": lambda self: None})()) == "its __str__ raises TypeError"


def test_half_a_character_stands_as_its_code():
    assert error_text(ValueError(HALF)) == HALF_TOLD
    assert value_text([HALF]) == f"['{HALF_TOLD}']"
