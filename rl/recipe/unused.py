"""Keys of a judge or a generator that its kind does not use: who sets one expects something of it."""

from collections.abc import Sequence
from dataclasses import MISSING, fields

from actors.config import GeneratorConfig, JudgeConfig
from actors.generator.config import UNUSED_BY_OWN
from actors.judge.registry import traits_of
from rl.recipe.layers import Layer
from rl.recipe.tree import at
from rollout.text.limits import is_own

_HINTS = {
    "judge.call": "a call's deadline is judge.timeout_s",
    "judge.model": "judge.options are for a class of your own",
}
"""What may have been meant."""


def check_used(recipe: object, layers: Sequence[Layer]) -> None:
    """Raise ValueError for a key that is set beside, or over, the kind that does not use it.

    What lies beneath the kind is inherited from a recipe of another kind, and passed over; so is what a run's own
    recipe says, which holds every key.
    """
    for section in ("judge", "generator"):
        config = getattr(recipe, section, None)
        if isinstance(config, JudgeConfig):
            unused = traits_of(config.kind).unused
        elif isinstance(config, GeneratorConfig) and is_own(config.kind):
            unused = UNUSED_BY_OWN
        else:
            continue
        for key in sorted(_set_for(section, config, layers) & unused):
            name = f"{section}.{key}"
            hint = f" ({_HINTS[name]})" if name in _HINTS else ""
            raise ValueError(f"{name} does nothing for {section}.kind={config.kind!r}: leave it out{hint}")


def _set_for(section: str, config: JudgeConfig | GeneratorConfig, layers: Sequence[Layer]) -> set[str]:
    """Return the section's keys that are set away from their defaults, by the layer that sets its kind or one above."""
    defaults = {
        field.name: field.default_factory() if field.default_factory is not MISSING else field.default
        for field in fields(config)
    }
    said = [section_of for layer in layers if isinstance(section_of := at(layer.content, section), dict)]
    first = max((number for number, one in enumerate(said) if "kind" in one), default=0)
    partial = [one for one in said[first:] if len(one) < len(defaults) // 2]
    return {key for one in partial for key in one if getattr(config, key, None) != defaults.get(key)}
