"""Weights as a small model has them, its head tied to its embedding."""

import pytest
import torch

SHAPES = {
    "model.embed.weight": (6, 4),
    "model.attn.q_proj.weight": (4, 4),
    "model.attn.k_proj.weight": (2, 4),
    "model.attn.v_proj.weight": (2, 4),
    "model.patch.weight": (4, 1, 2, 2),
    "lm_head.weight": (6, 4),
}


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    made = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    return made | {"lm_head.weight": made["model.embed.weight"]}
