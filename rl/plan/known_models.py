"""Sizes of the models that our recipes name, for machines that do not have them (yet).

Held against transformers' and diffusers' classes on the meta device: `tests/rl/plan/test_known_models_slow.py`.
"""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

_VISION = {"num_heads": 16, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3}
_SMALL_TOWER = {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]}
_TOWER = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]}


def _critic(hidden: int, inner: int, layers: int, heads: int, tower: Json, *, is_tied: bool) -> Json:
    """Return the part of a Qwen3-VL's config.json that tells its size."""
    text = {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    return {
        "model_type": "qwen3_vl",
        "text_config": text
        | {"num_attention_heads": heads, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936},
        "vision_config": _VISION | tower | {"out_hidden_size": hidden, "num_position_embeddings": 2304},
        "tie_word_embeddings": is_tied,
    }


CRITICS: Mapping[str, Json] = {
    "Qwen3-VL-2B": _critic(2048, 6144, 28, 16, _SMALL_TOWER, is_tied=True),
    "Qwen3-VL-4B": _critic(2560, 9728, 36, 32, _SMALL_TOWER, is_tied=True),
    "Qwen3-VL-8B": _critic(4096, 12288, 36, 32, _TOWER, is_tied=False),
    "Qwen3-VL-32B": _critic(5120, 25600, 64, 64, _TOWER, is_tied=False),
}
"""By the beginning of their hub ids' names: Qwen/Qwen3-VL-8B-Instruct, Qwen/Qwen3-VL-8B-Thinking, ..."""

PIPELINES: Mapping[str, Mapping[str, int]] = {
    "FLUX.2-klein-4B": {"transformer": 3_875_544_576, "text_encoder": 4_411_424_256, "vae": 84_046_115},
    "FLUX.2-klein-9B": {"transformer": 9_078_581_248, "text_encoder": 8_190_735_360, "vae": 84_046_115},
}
"""Parameters of a pipeline's parts, by the beginning of its hub id's name; upper and lower case are one."""


def known_critic(name: str) -> Json | None:
    """Return what is known of a model by its hub id."""
    return next((config for start, config in CRITICS.items() if _begins(name, start)), None)


def known_pipeline(name: str) -> Mapping[str, int] | None:
    """Return what is known of a pipeline by its hub id."""
    return next((parts for start, parts in PIPELINES.items() if _begins(name, start)), None)


def _begins(name: str, start: str) -> bool:
    """Whether a hub id's name begins so, and goes on with no further letter or digit.

    >>> _begins("Qwen/Qwen3-VL-8B-Instruct", "Qwen3-VL-8B"), _begins("mine/FLUX.2-klein-9b-kv", "FLUX.2-klein-9B")
    (True, True)
    >>> _begins("Qwen/Qwen3-VL-8Bit", "Qwen3-VL-8B")
    False
    """
    last = name.rpartition("/")[2].lower()
    rest = last.removeprefix(start.lower())
    return last != rest and not rest[:1].isalnum()
