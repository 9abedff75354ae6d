"""The tensors of a vision-language model, from its config.json alone: names of parts, and shapes.

As transformers builds Qwen3-VL and Qwen2.5-VL; `tests/rl/plan/test_tensor_shapes.py` holds both against its classes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]
EMBEDDING, LAYERS, NORM, HEAD, VISION = "embedding", "text layers", "final norm", "lm_head", "vision"
TYPES = ("qwen3_vl", "qwen2_5_vl")
"""Values of config.json's `model_type` that are known."""


@dataclass(frozen=True)
class Tensors:
    """Tensors of one shape."""

    part: str
    shape: tuple[int, ...]
    count: int = 1
    is_linear: bool = False
    """The matrix of a linear layer, which can have an adapter."""
    name: str = ""
    """Of that layer: q_proj, ..."""

    @property
    def num_parameters(self) -> int:
        return self.count * math.prod(self.shape)


def tensors_of(config: Json) -> list[Tensors]:
    """Return all tensors of a model. Raises ValueError for a config of another kind."""
    kind = config.get("model_type")
    if kind not in TYPES:
        raise ValueError(f"model_type is {kind!r}; known are {', '.join(TYPES)}")
    text = config.get("text_config") or config
    tower = _qwen3_vision if kind == "qwen3_vl" else _qwen25_vision
    return [*_text(text, has_bias=kind == "qwen2_5_vl"), *_ends(config, text), *tower(config["vision_config"])]


def is_tied(config: Json) -> bool:
    """Whether embedding and head are one tensor."""
    said = config.get("tie_word_embeddings")
    return bool((config.get("text_config") or {}).get("tie_word_embeddings", False) if said is None else said)


def _ends(config: Json, text: Json) -> Iterator[Tensors]:
    size = text["vocab_size"], text["hidden_size"]
    yield Tensors(EMBEDDING, size)
    yield Tensors(NORM, (text["hidden_size"],))
    if not is_tied(config):
        yield Tensors(HEAD, size, name="lm_head")


def _text(text: Json, *, has_bias: bool) -> Iterator[Tensors]:
    """Yield the tensors of the text layers; those with biases (Qwen2.5) have no norms of queries and keys."""
    layers, hidden, inner = text["num_hidden_layers"], text["hidden_size"], text["intermediate_size"]
    head = text.get("head_dim") or hidden // text["num_attention_heads"]
    queries, keys = text["num_attention_heads"] * head, text["num_key_value_heads"] * head
    for name, shape in {
        "q_proj": (queries, hidden),
        "k_proj": (keys, hidden),
        "v_proj": (keys, hidden),
        "o_proj": (hidden, queries),
        "gate_proj": (inner, hidden),
        "up_proj": (inner, hidden),
        "down_proj": (hidden, inner),
    }.items():
        yield Tensors(LAYERS, shape, layers, is_linear=True, name=name)
    yield Tensors(LAYERS, (hidden,), 2 * layers)
    if has_bias:
        yield Tensors(LAYERS, (queries,), layers)
        yield Tensors(LAYERS, (keys,), 2 * layers)
    else:
        yield Tensors(LAYERS, (head,), 2 * layers)


def _qwen3_vision(vision: Json) -> Iterator[Tensors]:
    hidden, inner, depth = vision["hidden_size"], vision["intermediate_size"], vision["depth"]
    yield from _patches(vision, hidden, has_bias=True)
    yield Tensors(VISION, (vision["num_position_embeddings"], hidden))
    yield from _linear("qkv", 3 * hidden, hidden, depth)
    yield from _linear("proj", hidden, hidden, depth)
    yield from _linear("linear_fc1", inner, hidden, depth)
    yield from _linear("linear_fc2", hidden, inner, depth)
    yield Tensors(VISION, (hidden,), 4 * depth)  # two norms of a block, weight and bias
    merged, num_deep = hidden * vision["spatial_merge_size"] ** 2, len(vision["deepstack_visual_indexes"])
    yield from _linear("linear_fc1", merged, merged, 1 + num_deep)
    yield from _linear("linear_fc2", vision["out_hidden_size"], merged, 1 + num_deep)
    yield Tensors(VISION, (hidden,), 2)
    yield Tensors(VISION, (merged,), 2 * num_deep)


def _qwen25_vision(vision: Json) -> Iterator[Tensors]:
    hidden, inner, depth = vision["hidden_size"], vision["intermediate_size"], vision["depth"]
    yield from _patches(vision, hidden, has_bias=False)
    yield from _linear("qkv", 3 * hidden, hidden, depth)
    yield from _linear("proj", hidden, hidden, depth)
    yield from _linear("gate_proj", inner, hidden, depth)
    yield from _linear("up_proj", inner, hidden, depth)
    yield from _linear("down_proj", hidden, inner, depth)
    yield Tensors(VISION, (hidden,), 2 * depth + 1)  # two norms of a block, and the merger's
    merged = hidden * vision["spatial_merge_size"] ** 2
    yield from _linear("0", merged, merged, 1)
    yield from _linear("2", vision["out_hidden_size"], merged, 1)


def _patches(vision: Json, hidden: int, *, has_bias: bool) -> Iterator[Tensors]:
    side = vision["patch_size"]
    yield Tensors(VISION, (hidden, vision.get("in_channels", 3), vision["temporal_patch_size"], side, side))
    if has_bias:
        yield Tensors(VISION, (hidden,))


def _linear(name: str, outputs: int, inputs: int, count: int) -> Iterator[Tensors]:
    yield Tensors(VISION, (outputs, inputs), count, is_linear=True, name=name)
    yield Tensors(VISION, (outputs,), count)
