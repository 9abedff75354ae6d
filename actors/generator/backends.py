"""The kinds of generator, by what is behind them: each a line here and a file with its `KIND`, imported when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.generator.registry import REGISTRY
from rewards.functions import load_object

if TYPE_CHECKING:
    from actors.generator.config import GeneratorConfig
    from actors.generator.kind import GeneratorKind

KINDS = {
    "diffusers": "actors.generator.kinds.diffusers:KIND",
    "custom": "actors.generator.kinds.custom:KIND",
    "images": "actors.generator.kinds.images:KIND",
    "chat": "actors.generator.kinds.chat:KIND",
    "service": "actors.generator.kinds.service:KIND",
}
_OWN = "actors.generator.kinds.own:KIND"


def kind_of(config: GeneratorConfig) -> GeneratorKind:
    """Return what is behind a generator: as it says, or its named spec, else a pipeline of diffusers."""
    kind = config.kind or (REGISTRY[config.name].kind if config.name else "diffusers")
    return load_object(KINDS.get(kind, _OWN))
