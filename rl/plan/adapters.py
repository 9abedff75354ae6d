"""Adapters of a policy, by their shapes; what a publish sends."""

from collections.abc import Iterator

from actors.config import ALL_LINEAR, PolicyConfig
from rl.plan.models import ModelSize
from rl.plan.tensor_shapes import VISION, Tensors
from rl.recipe.config import Recipe


def adapters_of(config: PolicyConfig, model: ModelSize) -> Iterator[Tensors]:
    """Yield the two matrices of each adapter, as peft makes them for `policy.lora`."""
    lora = config.lora
    if not lora.rank:
        return
    for one in model.tensors:
        is_wanted = list(lora.targets) == [ALL_LINEAR] or one.name in lora.targets
        if one.is_linear and is_wanted and not (config.freeze_vision and one.part == VISION):
            outputs, inputs = one.shape
            yield Tensors(one.part, (lora.rank, inputs), one.count)
            yield Tensors(one.part, (outputs, lora.rank), one.count)


def published_values(recipe: Recipe, model: ModelSize) -> int:
    """Return how many values a publish sends: with `samplers.as_adapters` the rest stays in the engines."""
    if not recipe.samplers.as_adapters:
        return model.num_parameters
    return sum(one.num_parameters for one in adapters_of(recipe.policy, model))
