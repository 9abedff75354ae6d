"""Tensor parallelism: each worker holds, receives and compares its own part of each tensor."""

import pytest
import torch

from actors.weights.blocks import Writer
from actors.weights.live import LiveWeights, Part
from actors.weights.receive import WeightReceiver
from actors.weights.wire import Manifest
from tests.actors.weights.conftest import SHAPES, SMALL_BLOCK, Recorded, blocks_of, make_weights, manifest_of
from tests.actors.weights.fused_model import FusedModel


@pytest.fixture
def shards() -> list[tuple[FusedModel, WeightReceiver]]:
    return [(FusedModel(rank, 2), WeightReceiver()) for rank in range(2)]


def parts_of(shards) -> dict[str, set[Part]]:
    held = [receiver.parts(model, SHAPES) for model, receiver in shards]
    return {name: {part for parts in held if (part := parts[name]) is not None} for name in SHAPES}


def test_every_value_is_on_some_worker(weights: dict[str, torch.Tensor], shards):
    for name, parts in parts_of(shards).items():
        covered = torch.zeros(SHAPES[name])
        for part in parts:
            ones = torch.ones(SHAPES[name])
            for start, length in part.ranges or ((0, SHAPES[name][part.dim]),):
                covered.narrow(part.dim, start, length).add_(ones.narrow(part.dim, start, length))
        assert covered.eq(1).all(), name
    parts = shards[1][1].parts(shards[1][0], SHAPES)
    assert parts["model.embed.weight"] == Part(0, ((4, 2),))
    assert parts["model.down.weight"] == Part(1, ((3, 3),))
    assert parts["model.attn.k_proj.weight"] == Part(0, ((1, 1),))
    assert parts["model.patch.weight"] == Part()


def test_shards_are_written_and_compared(shards):
    parts = parts_of(shards)
    for seed in range(3):  # by the loader, then straight
        weights = make_weights(seed)
        for model, receiver in shards:
            receiver.receive(model, blocks_of(weights), torch.float32, SHAPES)
            verdict = receiver.verify(model, manifest_of(weights, parts, seed))
            assert (verdict.problems, verdict.coverage) == ((), 1.0)
    with torch.no_grad():
        shards[1][0].model.down.weight.view(torch.int32)[3, 2] ^= 1
    assert shards[0][1].verify(shards[0][0], manifest_of(weights, parts)).problems == ()
    assert shards[1][1].verify(shards[1][0], manifest_of(weights, parts)).problems == (
        "1 tensors differ in the engine: model.down.weight",
    )


def test_changes_reach_the_shard_that_holds_them(weights: dict[str, torch.Tensor], shards):
    parts, new = parts_of(shards), make_weights(1)
    channel = Recorded(SMALL_BLOCK)
    writer = Writer(channel, torch.float32)
    for name, tensor in new.items():
        places = torch.arange(0, tensor.numel(), 2)
        mixed = weights[name].clone() if name != "lm_head.weight" else new["model.embed.weight"]
        mixed.view(-1)[places] = tensor.view(-1)[places]
        new[name] = mixed
        writer.changes(name, places, tensor.view(-1)[places])
    writer.end()
    for model, receiver in shards:
        receiver.receive(model, blocks_of(weights), torch.float32, SHAPES)
        assert receiver.verify(model, manifest_of(weights, parts)).problems == ()
        receiver.receive(model, channel.blocks, torch.float32, SHAPES, base_version=1)
        assert receiver.verify(model, Manifest(2, manifest_of(new, parts).checksums)).problems == ()


class Attention(torch.nn.Module):
    """Four heads of two over four workers, two of keys and values; fused in its checkpoint too."""

    def __init__(self, rank: int):
        super().__init__()
        self.qkv = torch.nn.Linear(3, 6, bias=False)
        self.qkv.tp_rank, self.qkv.tp_size, self.qkv.num_kv_head_replicas = rank, 4, 2
        self.qkv.output_sizes = [8, 4 * 2, 4 * 2]


def test_heads_of_keys_are_repeated():
    layer = Attention(3)
    layer.qkv.output_sizes = [8, 4, 4]
    part, view = LiveWeights(layer, {"qkv.weight": (16, 3)}).find("qkv.weight") or (None, torch.empty(0))
    assert part == Part(0, ((6, 2), (10, 2), (14, 2)))
    assert view.shape == (6, 3)
