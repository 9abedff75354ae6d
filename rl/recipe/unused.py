"""Keys of a section that its kind does not use: who sets one expects something of it."""

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from itertools import groupby
from typing import Any

from actors.config import EvidenceConfig, GeneratorConfig, JudgeConfig
from actors.evidence.kind import kind_of as evidence_kind
from actors.generator.kind import kind_of as generator_kind
from actors.judge.judge import kind_of as judge_kind
from actors.teacher.config import TeacherConfig
from actors.teacher.kind import kind_of as teacher_kind
from rl.recipe.layers import Layer
from rl.recipe.tree import Tree, at

Section = JudgeConfig | GeneratorConfig | EvidenceConfig | TeacherConfig
"""What has a kind."""
_CHOOSING: dict[type, tuple[str, ...]] = {EvidenceConfig: ("fn",), TeacherConfig: ("fn", "model")}
"""Keys that say of which kind a section is where `kind` does not."""
_HINTS = {
    (JudgeConfig, "call"): " (a call's deadline is {}.timeout_s)",
    (JudgeConfig, "model"): " ({}.options are for a class of your own)",
    (EvidenceConfig, "timeout_s"): " (the judge has its own: {}.judge.timeout_s)",
}
"""What may have been meant."""


def check_used(recipe: object, layers: Sequence[Layer]) -> None:
    """Raise ValueError for a key that is set beside, or over, the kind that does not use it.

    What lies beneath the kind is inherited from a recipe of another kind, and passed over; so is what a whole recipe
    says, which holds every key.
    """
    for section, config, defaults in _sections(recipe):
        kind, unused = _kind_of(config)
        for key in sorted(_set_for(section, config, defaults, layers) & unused):
            hint = _HINTS.get((type(config), key), "").format(section)
            raise ValueError(f"{section}.{key} does nothing for {section}.kind={kind!r}: leave it out{hint}")


def _sections(config: Any, key: str = "") -> Iterator[tuple[str, Section, Section]]:
    """Yield what has a kind, by its key, with what it is by default there."""
    for field in fields(config):
        value, where = getattr(config, field.name), f"{key}.{field.name}".lstrip(".")
        if isinstance(config, JudgeConfig) and field.name == "members":
            value = dict(enumerate(config.member_configs))
        some = {f"{where}.{name}": one for name, one in value.items()} if isinstance(value, dict) else {where: value}
        for place, one in some.items():
            if isinstance(one, Section):
                default = field.default_factory() if field.default_factory is not MISSING else field.default
                yield place, one, default if type(default) is type(one) else type(one)()
            if is_dataclass(one):
                yield from _sections(one, place)


def _kind_of(config: Section) -> tuple[str | None, frozenset[str]]:
    """Return a section's kind, and the keys that do nothing for it."""
    match config:
        case JudgeConfig():
            return config.kind, judge_kind(config).unused
        case GeneratorConfig():
            return config.kind, generator_kind(config).unused
        case EvidenceConfig():
            return config.kind_name, evidence_kind(config).unused
        case TeacherConfig():
            return config.kind_name, teacher_kind(config).unused


def _set_for(section: str, config: Section, defaults: Section, layers: Sequence[Layer]) -> set[str]:
    """Return the section's keys that are set away from their defaults, from the layer on that makes it of its kind."""
    so_far: Tree = {}
    keys: set[str] = set()
    for _, some in groupby(layers, lambda layer: layer.where):  # overrides are a layer each, in any order
        said: Tree = {}
        for layer in some:
            if isinstance(content := at(layer.content, section), dict):
                so_far |= content
                said |= {} if layer.is_whole else content
        is_of_kind = so_far.get("kind", defaults.kind) == config.kind and all(
            bool(so_far.get(key)) == bool(getattr(config, key)) for key in _CHOOSING.get(type(config), ())
        )
        keys = keys | said.keys() if is_of_kind else set()
    return {key for key in keys if getattr(config, key, None) != getattr(defaults, key, None)}
