"""Weights that have arrived: what an engine loads, and what differs from what was sent."""

import pytest
import torch

from actors.weights.blocks import Writer
from actors.weights.live import LiveWeights
from actors.weights.receive import WeightReceiver, WrongBase, missing_tensors
from actors.weights.send import describe_base_tensors
from actors.weights.wire import BaseTensor, Manifest, Order
from tests.actors.weights.conftest import SHAPES, SMALL_BLOCK, Recorded, blocks_of, make_weights, manifest_of
from tests.actors.weights.fused_model import FusedModel

FLOAT = torch.float32


def received(weights: dict[str, torch.Tensor]) -> tuple[FusedModel, WeightReceiver]:
    model, receiver = FusedModel(), WeightReceiver()
    receiver.receive(model, blocks_of(weights), FLOAT, SHAPES)
    assert receiver.verify(model, manifest_of(weights)).problems == ()
    model.given.clear()
    return model, receiver


def changes(old: dict[str, torch.Tensor], new: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    channel = Recorded(SMALL_BLOCK)
    writer = Writer(channel, FLOAT)
    for name, tensor in new.items():
        places = (tensor != old[name]).flatten().nonzero().view(-1)
        writer.changes(name, places, tensor.flatten()[places])
    writer.end()
    return channel.blocks


def test_a_complete_load_has_no_problems(weights: dict[str, torch.Tensor]):
    model, receiver = FusedModel(), WeightReceiver()
    receiver.receive(model, blocks_of(weights), FLOAT, SHAPES)
    verdict = receiver.verify(model, manifest_of(weights))
    assert (verdict.problems, verdict.coverage) == ((), 1.0)
    assert model.given == [name for name in SHAPES if name != "lm_head.weight"]
    assert receiver.version == 1


def test_what_was_compared_is_written_without_the_loader(weights: dict[str, torch.Tensor]):
    model, receiver = received(weights)
    for seed in range(1, 4):
        later = make_weights(seed)
        receiver.receive(model, blocks_of(later), FLOAT, SHAPES)
        assert receiver.verify(model, manifest_of(later)).problems == ()
    assert model.given == []
    # After a failure nothing is taken for granted.
    receiver.receive(model, blocks_of(later), FLOAT, SHAPES)
    assert receiver.verify(model, manifest_of(weights)).problems
    receiver.receive(model, blocks_of(later), FLOAT, SHAPES)
    assert len(model.given) == len(SHAPES) - 1


def test_a_lost_block_is_named(weights: dict[str, torch.Tensor]):
    model, receiver = FusedModel(), WeightReceiver()
    receiver.receive(model, blocks_of(weights)[1:], FLOAT, SHAPES)
    verdict = receiver.verify(model, manifest_of(weights))
    assert verdict.problems[0] == "2 tensors never arrived: model.attn.q_proj.weight, model.embed.weight"
    assert receiver.version is None


def test_a_parameter_that_was_not_written_is_named(weights: dict[str, torch.Tensor]):
    model, receiver = FusedModel(), WeightReceiver()
    receiver.receive(model, blocks_of(weights), FLOAT, SHAPES)
    with torch.no_grad():
        model.model.attn.qkv_proj.weight[5] += 1  # a row of k
    problem = "1 tensors differ in the engine: model.attn.k_proj.weight"
    assert receiver.verify(model, manifest_of(weights)).problems == (problem,)
    model.lm_head.weight = torch.nn.Parameter(torch.zeros(8, 4))
    assert "lm_head.weight" in receiver.verify(model, manifest_of(weights)).problems[0]


@pytest.mark.parametrize("is_first", [True, False])
def test_damage_on_the_way_is_named(weights: dict[str, torch.Tensor], is_first: bool):
    model, receiver = (FusedModel(), WeightReceiver()) if is_first else received(weights)
    blocks = blocks_of(weights, 1 << 20)
    blocks[0][(1 << 16) + 3] ^= 1
    receiver.receive(model, blocks, FLOAT, SHAPES)
    problems = receiver.verify(model, manifest_of(weights)).problems
    assert problems == ("2 tensors differ in the engine: lm_head.weight, model.embed.weight",)


def test_changes_arrive(weights: dict[str, torch.Tensor]):
    model, receiver = received(weights)
    new = {name: tensor.clone() for name, tensor in weights.items()}
    new["model.attn.v_proj.weight"][1, 2] = 5.0
    new["model.patch.weight"][3] = 6.0
    new["model.embed.weight"][0, 0] = new["lm_head.weight"][0, 0] = -0.5
    receiver.receive(model, changes(weights, new), FLOAT, SHAPES, base_version=1)
    wanted = Manifest(2, manifest_of(new).checksums)
    verdict = receiver.verify(model, wanted)
    assert (verdict.problems, verdict.coverage) == ((), 1.0)
    assert receiver.version == 2
    lost = changes(new, make_weights(5))
    receiver.receive(model, lost[1:], FLOAT, SHAPES, base_version=2)
    assert (
        "differ in the engine"
        in receiver.verify(model, Manifest(3, manifest_of(make_weights(5)).checksums)).problems[0]
    )


def test_changes_on_another_base_are_refused(weights: dict[str, torch.Tensor]):
    model, receiver = received(weights)
    with pytest.raises(WrongBase, match="changes on version 7 were sent to weights of version 1"):
        receiver.receive(model, [], FLOAT, SHAPES, base_version=7)
    receiver.receive(model, [], FLOAT, SHAPES)  # broken off: of no version, until a publish is verified
    with pytest.raises(WrongBase, match="version None"):
        receiver.receive(model, [], FLOAT, SHAPES, base_version=1)


TRAINED = "model.attn.v_proj.weight"


def origins(weights: dict[str, torch.Tensor]) -> dict[str, BaseTensor]:
    order = Order(1, "float32", SMALL_BLOCK, "auto", (), SHAPES)
    return describe_base_tensors(weights.items(), {TRAINED}, order, is_sender=True)


def loaded(weights: dict[str, torch.Tensor]) -> FusedModel:
    model = FusedModel()
    with torch.no_grad():
        model.load_weights(weights.items())
    return model


def test_what_an_engine_lacks_is_what_it_cannot_show(weights: dict[str, torch.Tensor]):
    model = loaded(weights)
    assert missing_tensors(model, origins(weights)) == set()
    with torch.no_grad():
        model.model.attn.qkv_proj.weight[4:] += 1  # k, and the trained v
    assert missing_tensors(model, origins(weights)) == {"model.attn.k_proj.weight"}
    unknown = origins(weights | {"model.other.weight": torch.zeros(2)})
    assert missing_tensors(model, unknown) == {"model.attn.k_proj.weight", "model.other.weight"}
    assert missing_tensors(FusedModel(), origins(weights)) == weights.keys() - {TRAINED}


def test_what_was_not_sent_is_compared_too(weights: dict[str, torch.Tensor]):
    model, receiver = loaded(weights), WeightReceiver()
    held = {name: origin for name, origin in origins(weights).items() if not origin.is_trained}
    changed = {TRAINED: weights[TRAINED] + 1}
    receiver.receive(model, blocks_of(changed), FLOAT, SHAPES)
    manifest = Manifest(1, manifest_of(changed).checksums, frozenset(changed), already_loaded=held)
    verdict = receiver.verify(model, manifest)
    assert (verdict.problems, verdict.coverage) == ((), 1.0)
    with torch.no_grad():
        model.model.patch.weight[0, 0] += 1
    assert receiver.verify(model, manifest).problems == ("1 tensors differ in the engine: model.patch.weight",)


def test_a_layout_that_is_not_known_is_checked_as_it_arrives(weights: dict[str, torch.Tensor]):
    live = LiveWeights(FusedModel(), {"model.patch.weight": (5, 5), "model.other": (2,)})
    assert live.find("model.patch.weight") is None
    assert live.find("model.other") is None
    strange = {"model.other": torch.ones(2)}
    for has_flipped_bit in (False, True):
        model, receiver = FusedModel(), WeightReceiver()
        blocks = blocks_of(strange)
        if has_flipped_bit:
            blocks[0][1 << 16] ^= 1
        receiver.receive(model, blocks, FLOAT, {"model.other": (2,)})
        verdict = receiver.verify(model, manifest_of(strange))
        assert verdict.coverage == 0.0
        assert verdict.problems == (("1 tensors arrived damaged: model.other",) if has_flipped_bit else ())
