"""A recipe's kinds of evidence: each is a line here and a file with its `KIND`, imported on demand."""

from typing import Any

from rewards.functions.import_path import load_object

KINDS = {
    "function": "actors.evidence.function:KIND",
    "judge": "actors.evidence.judge:KIND",
}
_OWN = "actors.evidence.user_class:KIND"


def load_kind(kind: str) -> Any:
    """Return an `actors.evidence.kind.EvidenceKind` by its name, or the one for user-defined classes."""
    return load_object(KINDS.get(kind, _OWN))
