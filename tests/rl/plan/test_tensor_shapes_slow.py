"""Tensors by config.json are those of transformers' classes. Slow: to import them takes seconds."""

from collections import Counter
from typing import Any

import pytest

import actors  # noqa: F401  (first: makes torchvision importable beside a CPU build of torch)
from rl.plan.tensor_shapes import LAYERS, VISION, tensors_of

pytestmark = pytest.mark.slow
SMALL: dict[str, Any] = {
    "qwen3_vl": {
        "text_config": {"num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2},
        "vision_config": {"depth": 4, "deepstack_visual_indexes": [0, 2]},
    },
    "qwen2_5_vl": {
        "text_config": {"num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2},
        "vision_config": {"depth": 4},
    },
}


def built(kind: str, *, is_tied: bool):
    import torch
    import transformers

    config_class, model_class = {
        "qwen3_vl": (transformers.Qwen3VLConfig, transformers.Qwen3VLForConditionalGeneration),
        "qwen2_5_vl": (transformers.Qwen2_5_VLConfig, transformers.Qwen2_5_VLForConditionalGeneration),
    }[kind]
    config = config_class(**SMALL[kind], tie_word_embeddings=is_tied)
    with torch.device("meta"):
        model = model_class(config)
    model.tie_weights()
    return model


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("is_tied", [True, False])
def test_tensors_are_those_of_the_class(kind, is_tied):
    model = built(kind, is_tied=is_tied)
    found: Counter[tuple[int, ...]] = Counter()
    for one in tensors_of(model.config.to_dict()):
        found[one.shape] += one.count
    assert found == Counter(tuple(parameter.shape) for parameter in model.parameters())


@pytest.mark.parametrize("kind", SMALL)
def test_parts_and_linear_layers_are_those_of_the_class(kind):
    import torch

    model = built(kind, is_tied=False)
    tensors = tensors_of(model.config.to_dict())
    for part, module in ((LAYERS, model.model.language_model.layers), (VISION, model.model.visual)):
        own = [one for one in tensors if one.part == part]
        assert sum(one.num_parameters for one in own) == sum(value.numel() for value in module.parameters())
        linear = Counter(
            (name.rpartition(".")[2], tuple(layer.weight.shape))
            for name, layer in module.named_modules()
            if isinstance(layer, torch.nn.Linear)
        )
        known: Counter[tuple[str, tuple[int, ...]]] = Counter()
        for one in own:
            if one.is_linear:
                known[one.name, one.shape] += one.count
        assert known == linear
