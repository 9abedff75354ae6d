"""The kinds of generator, by what is behind them: each a line here and a file with its `KIND`, imported when asked."""

from __future__ import annotations

from typing import Any

from rewards.functions import load_object

KINDS = {
    "diffusers": "actors.generator.kinds.diffusers:KIND",
    "custom": "actors.generator.kinds.custom:KIND",
    "images": "actors.generator.kinds.images:KIND",
    "chat": "actors.generator.kinds.chat:KIND",
    "service": "actors.generator.kinds.service:KIND",
}
_OWN = "actors.generator.kinds.own:KIND"


def load_kind(kind: str) -> Any:
    """Return an `actors.generator.kind.GeneratorKind` by its name, or the one of classes of the user's own."""
    return load_object(KINDS.get(kind, _OWN))
