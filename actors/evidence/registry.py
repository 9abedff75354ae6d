"""The kinds of evidence of a recipe: each a line here and a file with its `KIND`, imported when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewards.functions import load_object

if TYPE_CHECKING:
    from actors.config import EvidenceConfig
    from actors.evidence.kind import EvidenceKind

KINDS = {
    "function": "actors.evidence.function:KIND",
    "judge": "actors.evidence.judge:KIND",
}
_OWN = "actors.evidence.own:KIND"


def kind_of(config: EvidenceConfig) -> EvidenceKind:
    """Return what kind of evidence this is: as it says, or by what it gives (`fn` or `judge`)."""
    return load_object(KINDS.get(config.kind or ("function" if config.judge is None else "judge"), _OWN))
