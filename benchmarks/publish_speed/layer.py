"""Layers of the released critic, and what fits beside one in 1 GB of float32, laid out as vLLM lays them out."""

from collections.abc import Iterable
from typing import ClassVar

import torch

_HIDDEN, _KEYS, _INNER, _WORDS = 4096, 1024, 12288, 14000
_SHAPES: dict[str, tuple[int, ...]] = {
    "embed": (_WORDS, _HIDDEN),
    "q_proj": (_HIDDEN, _HIDDEN),
    "k_proj": (_KEYS, _HIDDEN),
    "v_proj": (_KEYS, _HIDDEN),
    "o_proj": (_HIDDEN, _HIDDEN),
    "gate_proj": (_INNER, _HIDDEN),
    "up_proj": (_INNER, _HIDDEN),
    "down_proj": (_HIDDEN, _INNER),
    "input_norm": (_HIDDEN,),
    "post_norm": (_HIDDEN,),
}
_FUSED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}


def shapes_of(num_layers: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all tensors, 250 million values a layer."""
    return {f"layers.{n}.{name}.weight": shape for n in range(num_layers) for name, shape in _SHAPES.items()}


class Layers(torch.nn.Module):
    """Parameters alone, with vLLM's fusions."""

    packed_modules_mapping: ClassVar = _FUSED

    def __init__(self, num_layers: int, device: str, dtype: torch.dtype):
        super().__init__()
        shapes = dict(_SHAPES)
        for fused, parts in _FUSED.items():
            shapes[fused] = (sum(shapes.pop(part)[0] for part in parts), _HIDDEN)
        self.layers = torch.nn.ModuleList()
        for _ in range(num_layers):
            layer = torch.nn.ModuleDict()
            for name, shape in shapes.items():
                layer[name] = torch.nn.Module()
                weight = torch.zeros(shape, device=device, dtype=dtype)
                layer[name].weight = torch.nn.Parameter(weight, requires_grad=False)
            self.layers.append(layer)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copy tensors to where they belong."""
        for name, tensor in weights:
            layer, _, part = name.removesuffix(".weight").rpartition(".")
            fused = next((fused for fused, parts in _FUSED.items() if part in parts), part)
            earlier = _FUSED.get(fused, [])
            offset = sum(_SHAPES[other][0] for other in earlier[: earlier.index(part)]) if earlier else 0
            self.get_submodule(f"{layer}.{fused}").weight[offset : offset + len(tensor)].copy_(tensor)
