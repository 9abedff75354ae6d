"""The kinds of judge that a recipe can name: each a line here and a file with its `KIND`, imported when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewards.functions import load_object

if TYPE_CHECKING:
    from actors.judge.config import JudgeConfig
    from actors.judge.kind import JudgeKind

KINDS = {
    "embedded": "actors.judge.kinds.embedded:KIND",
    "openai": "actors.judge.kinds.openai:KIND",
    "vllm": "actors.judge.kinds.vllm:KIND",
    "ensemble": "actors.judge.kinds.ensemble:KIND",
}
_OWN = "actors.judge.kinds.own:KIND"


def kind_of(config: JudgeConfig) -> JudgeKind:
    """Return what a judge's kind is and can do."""
    return load_object(KINDS.get(config.kind, _OWN))
