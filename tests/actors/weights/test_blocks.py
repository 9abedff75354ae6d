"""Tensors in blocks: what is written is read."""

import math

import pytest
import torch

from actors.weights.blocks import Writer, is_last, read
from tests.actors.weights.conftest import SMALL_BLOCK, Recorded, blocks_of


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("block_bytes", [SMALL_BLOCK, 1 << 20])
def test_blocks_carry_every_tensor(weights: dict[str, torch.Tensor], dtype: str, block_bytes: int):
    cast = {name: tensor.to(getattr(torch, dtype)) for name, tensor in weights.items()}
    cast |= {"scalar": torch.tensor(3.0).to(getattr(torch, dtype))}
    blocks = blocks_of(cast, block_bytes)
    widths = {name: math.prod(tensor.shape[1:]) for name, tensor in cast.items()}
    arrived: dict[str, list[torch.Tensor]] = {}
    for block in blocks:
        for piece in read(block, getattr(torch, dtype), widths):
            assert piece.start == sum(len(rows) for rows in arrived.get(piece.name, [])) // widths[piece.name]
            arrived.setdefault(piece.name, []).append(piece.values)
    assert [is_last(block) for block in blocks] == [False] * (len(blocks) - 1) + [True]
    assert (len(blocks) == 1) == (block_bytes == 1 << 20)
    for name, tensor in cast.items():
        assert torch.cat(arrived[name]).equal(tensor.flatten())


def test_changes_are_cut_to_fit():
    channel = Recorded(SMALL_BLOCK)
    writer = Writer(channel, torch.float32)
    places, values = torch.arange(0, 300, 3), torch.randn(100)
    writer.changes("w", places, values)
    writer.end()
    pieces = [piece for block in channel.blocks for piece in read(block, torch.float32, {"w": 10})]
    assert len(channel.blocks) > 1
    assert torch.cat([piece.places for piece in pieces if piece.places is not None]).equal(places)
    assert torch.cat([piece.values for piece in pieces]).equal(values)
    assert writer.num_bytes == 100 * 12


def test_a_row_that_fits_no_block_is_refused():
    with pytest.raises(ValueError, match=r"a row of wide is larger than a block: raise samplers\.bucket_mib"):
        blocks_of({"wide": torch.zeros(2, 1000)})


def test_many_small_tensors_fill_the_table():
    many = {f"model.layers.{number}.input_layernorm.weight": torch.ones(1) for number in range(2000)}
    blocks = blocks_of(many, 1 << 20)
    assert len(blocks) > 1
    names = [piece.name for block in blocks for piece in read(block, torch.float32, dict.fromkeys(many, 1))]
    assert names == list(many)
