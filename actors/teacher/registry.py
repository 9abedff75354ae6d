"""The kinds of teacher of a recipe: each a line here and a file with its `KIND`, imported when asked for."""

from __future__ import annotations

from typing import Any, ClassVar

from rewards.functions import load_object

KINDS = {
    "function": "actors.teacher.function:KIND",
    "asked": "actors.teacher.asked:KIND",
}
_OWN = "actors.teacher.own:KIND"


class TeacherTraits:
    """What a teacher's settings are checked by."""

    is_asked: ClassVar[bool] = False
    """A model answers, which `ask` describes."""


def load_kind(kind: str) -> Any:
    """Return an `actors.teacher.kind.TeacherKind` by its name, or the one of classes of the user's own."""
    return load_object(KINDS.get(kind, _OWN))


def traits_of(kind: str) -> TeacherTraits:
    """Return what settings of a kind are checked by."""
    return load_kind(kind)
