"""A recipe's kinds of teacher: each is a line here and a file with its `KIND`, imported on demand."""

from typing import Any, ClassVar

from rewards.functions.import_path import load_object

KINDS = {
    "function": "actors.teacher.function:KIND",
    "asked": "actors.teacher.asked:KIND",
    "served": "actors.teacher.served:KIND",
}
SERVED = frozenset({"model", "temperature", "max_tokens", "samplers"})
"""Keys of a checkpoint that is served."""
_OWN = "actors.teacher.user_class:KIND"


class TeacherTraits:
    """What a teacher's settings are checked against."""

    is_asked: ClassVar[bool] = False
    """A model answers, configured by `ask`."""
    is_served: ClassVar[bool] = False
    """A model answers that runs on `samplers`."""
    unused: ClassVar[frozenset[str]] = frozenset()
    """Keys of its section that do nothing for it."""


def load_kind(kind: str) -> Any:
    """Return an `actors.teacher.kind.TeacherKind` by its name, or the one for user-defined classes."""
    return load_object(KINDS.get(kind, _OWN))


def traits_of(kind: str) -> TeacherTraits:
    """Return what a kind's settings are checked against."""
    traits: TeacherTraits = load_kind(kind)
    return traits
