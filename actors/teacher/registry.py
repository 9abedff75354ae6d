"""The kinds of teacher of a recipe: each a line here and a file with its `KIND`, imported when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewards.functions import load_object

if TYPE_CHECKING:
    from actors.teacher.config import TeacherConfig
    from actors.teacher.kind import TeacherKind

KINDS = {
    "function": "actors.teacher.function:KIND",
    "asked": "actors.teacher.asked:KIND",
}
_OWN = "actors.teacher.own:KIND"


def kind_of(config: TeacherConfig) -> TeacherKind:
    """Return what kind of teacher this is: as it says, or by whether it gives `fn`."""
    return load_object(KINDS.get(config.kind or ("function" if config.fn else "asked"), _OWN))
