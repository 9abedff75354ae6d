"""Weights as a small model has them, its head tied to its embedding; and their way without Ray and vLLM."""

from collections.abc import Collection, Mapping

import pytest
import torch

from actors.weights.blocks import Writer
from actors.weights.checksum import Checksum
from actors.weights.live import WHOLE, Part
from actors.weights.wire import Manifest

SHAPES = {
    "model.embed.weight": (6, 4),
    "model.attn.q_proj.weight": (4, 4),
    "model.attn.k_proj.weight": (2, 4),
    "model.attn.v_proj.weight": (2, 4),
    "model.down.weight": (4, 6),
    "model.patch.weight": (4, 1, 2, 2),
    "lm_head.weight": (6, 4),
}
SMALL_BLOCK = (1 << 16) + 192
"""Bytes: a table, and a few rows."""


class Recorded:
    """A channel that keeps its blocks (`actors.weights.blocks.Channel`)."""

    name, device = "recorded", torch.device("cpu")

    def __init__(self, block_bytes: int):
        self.blocks: list[torch.Tensor] = []
        self.block_bytes = block_bytes

    def block(self) -> torch.Tensor:
        self._next = torch.zeros(self.block_bytes, dtype=torch.uint8)
        return self._next

    def commit(self, num_bytes: int) -> None:
        self.blocks.append(self._next[:num_bytes])

    def finish(self) -> None: ...


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return make_weights(0)


def make_weights(seed: int) -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    made = {name: torch.randn(shape, generator=dice) for name, shape in SHAPES.items()}
    return made | {"lm_head.weight": made["model.embed.weight"]}


def blocks_of(weights: Mapping[str, torch.Tensor], block_bytes: int = SMALL_BLOCK) -> list[torch.Tensor]:
    """Return what a channel would carry."""
    channel = Recorded(block_bytes)
    writer = Writer(channel, torch.float32)
    for name, tensor in weights.items():
        writer.rows(name, tensor)
    writer.end()
    return channel.blocks


def manifest_of(
    weights: Mapping[str, torch.Tensor], parts: Mapping[str, Collection[Part]] | None = None, version: int = 1
) -> Manifest:
    """Say that all of it was sent whole."""
    sums = {
        name: {part: Checksum.of(part.of(tensor)) for part in (parts or {}).get(name, [WHOLE])}
        for name, tensor in weights.items()
    }
    return Manifest(version, sums, frozenset(weights))
