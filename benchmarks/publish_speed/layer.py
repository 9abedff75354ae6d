"""A layer of the released critic and what fits beside it in 1 GB, laid out as vLLM lays it out."""

from collections.abc import Iterable
from typing import ClassVar

import torch

_HIDDEN, _KEYS, _INNER, _WORDS = 4096, 1024, 12288, 14000
SHAPES: dict[str, tuple[int, ...]] = {
    "embed.weight": (_WORDS, _HIDDEN),
    "q_proj.weight": (_HIDDEN, _HIDDEN),
    "k_proj.weight": (_KEYS, _HIDDEN),
    "v_proj.weight": (_KEYS, _HIDDEN),
    "o_proj.weight": (_HIDDEN, _HIDDEN),
    "gate_proj.weight": (_INNER, _HIDDEN),
    "up_proj.weight": (_INNER, _HIDDEN),
    "down_proj.weight": (_HIDDEN, _INNER),
    "input_norm.weight": (_HIDDEN,),
    "post_norm.weight": (_HIDDEN,),
}
_PLACES = {
    "q_proj": ("qkv_proj", 0),
    "k_proj": ("qkv_proj", _HIDDEN),
    "v_proj": ("qkv_proj", _HIDDEN + _KEYS),
    "gate_proj": ("gate_up_proj", 0),
    "up_proj": ("gate_up_proj", _INNER),
}


class Layer(torch.nn.Module):
    """Parameters alone, with vLLM's fusions."""

    packed_modules_mapping: ClassVar = {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }

    def __init__(self) -> None:
        super().__init__()
        shapes = {name.removesuffix(".weight"): shape for name, shape in SHAPES.items()}
        for fused, parts in self.packed_modules_mapping.items():
            shapes[fused] = (sum(shapes.pop(part)[0] for part in parts), _HIDDEN)
        for name, shape in shapes.items():
            holder = torch.nn.Module()
            holder.weight = torch.nn.Parameter(torch.zeros(shape), requires_grad=False)
            self.add_module(name, holder)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copy tensors to where they belong."""
        for name, tensor in weights:
            layer = name.removesuffix(".weight")
            fused, offset = _PLACES.get(layer, (layer, 0))
            self.get_submodule(fused).weight[offset : offset + len(tensor)].copy_(tensor)
