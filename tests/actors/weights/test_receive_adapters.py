"""Adapters that a model holds beside its weights: where their matrices are, and how they get there."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from actors.weights.blocks import Writer
from actors.weights.checksum import Checksum
from actors.weights.live import WHOLE, LiveWeights, Part, layer_of
from actors.weights.publish import publish
from actors.weights.receive import WeightReceiver, missing_tensors
from actors.weights.wire import BaseTensor, Manifest, Place, WorkerState
from rollout.roles import PublishError
from tests.actors.weights.conftest import SHAPES, SMALL_BLOCK, Recorded, blocks_of, make_weights, manifest_of
from tests.actors.weights.fused_model import FusedModel

FLOAT = torch.float32
RANK, ROOM = 2, 3
LAYERS = {name.removesuffix(".weight"): SHAPES[name] for name in SHAPES if "_proj" in name or "down" in name}
ADAPTERS = {
    name: shape
    for layer, (outputs, inputs) in LAYERS.items()
    for name, shape in {
        f"{layer}.lora_A.weight": (RANK, inputs),
        f"{layer}.lora_B.weight": (outputs, RANK),
    }.items()
}


class Wrapper(torch.nn.Module):
    """A layer with room for an adapter, as vLLM wraps it; its slots may be for a larger rank."""

    def __init__(self, layer: torch.nn.Module, inputs: int, outputs: tuple[int, ...]):
        super().__init__()
        self.base_layer = layer
        self.lora_a_stacked = tuple(torch.zeros(1, 1, ROOM, inputs) for _ in outputs)
        self.lora_b_stacked = tuple(torch.zeros(1, 1, rows, ROOM) for rows in outputs)


class Adapted(FusedModel):
    """Holds an adapter of two layers."""

    def __init__(self, rank: int = 0, size: int = 1):
        super().__init__(rank, size)
        self.plain = self.model.attn.qkv_proj, self.model.down
        self.model.attn.qkv_proj = Wrapper(self.plain[0], 4, (4 // size, 2 // size, 2 // size))
        self.model.down = Wrapper(self.plain[1], 6 // size, (4,))
        self.adapters: list[set[str]] = []

    def load_adapter(self, tensors):
        """Write each matrix to its slot by its name, as vLLM's own loader would; nothing is sharded."""
        self.adapters.append(set(tensors))
        slots = {f"model.attn.{part}": (self.model.attn.qkv_proj, at) for at, part in enumerate(QKV)}
        for name, tensor in tensors.items():
            wrapper, at = slots.get(layer_of(name), (self.model.down, 0))
            stacked = wrapper.lora_a_stacked if "lora_A" in name else wrapper.lora_b_stacked
            stacked[at][0, 0, : len(tensor), : tensor.shape[1]] = tensor


QKV = "q_proj", "k_proj", "v_proj"


def receiver() -> WeightReceiver:
    return WeightReceiver(lambda model, tensors: model.load_adapter(tensors))


def matrices(seed: int) -> dict[str, torch.Tensor]:
    dice = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=dice) for name, shape in ADAPTERS.items()}


def received(seed: int = 0) -> tuple[Adapted, WeightReceiver]:
    model, taker = Adapted(), receiver()
    taker.receive(model, blocks_of(matrices(seed)), FLOAT, ADAPTERS)
    verdict = taker.verify(model, manifest_of(matrices(seed)))
    assert (verdict.problems, verdict.coverage) == ((), 1.0)
    return model, taker


def test_the_first_adapter_goes_through_vllms_loader_and_later_ones_straight():
    model, taker = received()
    assert model.adapters == [set(ADAPTERS)]
    taker.receive(model, blocks_of(matrices(1)), FLOAT, ADAPTERS)
    assert taker.verify(model, manifest_of(matrices(1), version=2)).problems == ()
    assert taker.version == 2
    assert len(model.adapters) == 1
    for wrapper in (model.model.attn.qkv_proj, model.model.down):  # beyond the rank nothing is written
        assert all(not slot[..., RANK:, :].any() for slot in wrapper.lora_a_stacked)
        assert all(not slot[..., RANK:].any() for slot in wrapper.lora_b_stacked)
    taker.distrust()
    taker.receive(model, blocks_of(matrices(2)), FLOAT, ADAPTERS)
    assert len(model.adapters) == 2


def test_a_flipped_bit_of_a_live_matrix_is_named():
    model, taker = received()
    model.model.attn.qkv_proj.lora_b_stacked[1].view(torch.int32)[0, 0, 1, 0] ^= 1
    problems = taker.verify(model, manifest_of(matrices(0))).problems
    assert problems == ("1 tensors differ in the engine: model.attn.k_proj.lora_B.weight",)
    assert taker.version is None


def test_a_matrix_that_never_arrived_is_named():
    model, taker = Adapted(), receiver()
    lost = "model.down.lora_A.weight"
    taker.receive(model, blocks_of({name: one for name, one in matrices(0).items() if name != lost}), FLOAT, ADAPTERS)
    assert lost not in model.adapters[0]
    assert f"1 tensors never arrived: {lost}" in taker.verify(model, manifest_of(matrices(0))).problems


def test_changes_alone_reach_slots_with_room_to_spare():
    model, taker = received()
    old, new, channel = matrices(0), matrices(0), Recorded(SMALL_BLOCK)
    writer = Writer(channel, FLOAT)
    for name, tensor in new.items():
        places = torch.arange(1, tensor.numel(), 2)
        tensor.view(-1)[places] += 1
        writer.changes(name, places, tensor.flatten()[places])
    writer.end()
    taker.receive(model, channel.blocks, FLOAT, ADAPTERS, base_version=1)
    sums = {name: {WHOLE: Checksum.of(tensor)} for name, tensor in new.items()}
    assert taker.verify(model, Manifest(2, sums)).problems == ()
    assert not new["model.down.lora_B.weight"].equal(old["model.down.lora_B.weight"])


def test_shards_hold_the_inputs_or_outputs_that_their_layers_have():
    live = [LiveWeights(Adapted(rank, 2), ADAPTERS) for rank in range(2)]
    expected = {
        "model.attn.q_proj.lora_A.weight": WHOLE,
        "model.attn.q_proj.lora_B.weight": Part(0, ((2, 2),)),
        "model.attn.k_proj.lora_B.weight": Part(0, ((1, 1),)),
        "model.down.lora_A.weight": Part(1, ((3, 3),)),
        "model.down.lora_B.weight": WHOLE,
    }
    for name, part in expected.items():
        found = live[1].find(name)
        assert found is not None
        assert found[0] == part
        assert found[1].shape == part.of(torch.zeros(ADAPTERS[name])).shape


def test_weights_below_a_wrapper_are_those_of_the_model():
    """They are found under the names that they have without adapters, and not sent where they are as they were."""
    model, weights = Adapted(), make_weights(0)
    assert {name for name in SHAPES if LiveWeights(model, SHAPES).find(name) is None} == set()
    with torch.no_grad():
        for layer, name in zip(model.plain, ("attn", "down"), strict=True):
            parts = (
                [weights[f"model.attn.{one}.weight"] for one in QKV]
                if name == "attn"
                else [weights["model.down.weight"]]
            )
            layer.weight.copy_(torch.cat(parts))
    origins = {
        name: BaseTensor(SHAPES[name], {WHOLE: Checksum.of(weights[name])}, is_trained=False)
        for name in ("model.attn.q_proj.weight", "model.down.weight", "model.embed.weight")
    }
    assert missing_tensors(model, origins) == {"model.embed.weight"}


def test_a_layer_without_room_is_refused_before_anything_is_sent():
    """vLLM would leave out its adapter without a word."""
    names = ["model.visual.proj.lora_A.weight", "model.visual.proj.lora_B.weight"]
    assert LiveWeights(Adapted(), dict.fromkeys(names, (4, 4))).find(names[0]) is None

    async def state(shapes):
        return [WorkerState("process", Place("node", "host"), dict.fromkeys(names) | {"w": None}, None)]

    engine = SimpleNamespace(begin_publish=SimpleNamespace(remote=state))

    class Source:
        version = 0

        async def tensor_shapes(self, *, as_adapters):
            assert as_adapters
            return {}

    class Samplers:
        config = SimpleNamespace(as_adapters=True)
        engines = (engine,)

        async def living(self):
            return {0: engine}

    source: Any = Source()
    samplers: Any = Samplers()
    with pytest.raises(PublishError, match=r"no adapter of 1 layers that have one: model\.visual\.proj.*freeze_vision"):
        asyncio.run(publish(source, samplers))
