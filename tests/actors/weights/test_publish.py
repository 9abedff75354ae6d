"""Weights on their way, without Ray and vLLM: buckets, checksums, and what differs at the end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import ActorDiedError

from actors.weights import publish
from actors.weights.publish import BaseTensor, Manifest, buckets, checksum, describe_base_tensors
from actors.weights.receive import LiveWeights, WeightReceiver, missing_tensors

SHAPES = {
    "model.embed.weight": (6, 4),
    "model.attn.q_proj.weight": (4, 4),
    "model.attn.k_proj.weight": (2, 4),
    "model.attn.v_proj.weight": (2, 4),
    "model.patch.weight": (4, 1, 2, 2),
    "lm_head.weight": (6, 4),
}


class FusedModel(torch.nn.Module):
    """Holds q, k and v as one, a padded embedding under two names and a flattened convolution, as vLLM does."""

    packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Module()
        self.model.embed = torch.nn.Embedding(8, 4)
        self.model.attn = torch.nn.Module()
        self.model.attn.qkv_proj = torch.nn.Linear(4, 8, bias=False)
        self.model.patch = torch.nn.Linear(4, 4, bias=False)
        self.lm_head = torch.nn.Linear(4, 8, bias=False)
        self.lm_head.weight = self.model.embed.weight
        self.given: list[str] = []

    def load_weights(self, weights):
        offsets = {"q_proj": 0, "k_proj": 4, "v_proj": 6}
        for name, tensor in weights:
            self.given.append(name)
            part = next((part for part in offsets if part in name), None)
            if part is not None:
                self.model.attn.qkv_proj.weight[offsets[part] : offsets[part] + len(tensor)] = tensor
            elif "patch" in name:
                self.model.patch.weight[:] = tensor.flatten(1)
            else:
                self.model.embed.weight[: len(tensor)] = tensor


def test_the_ranks_stay_in_step_where_a_sampler_is_lost(monkeypatch):
    def lost(replies):
        raise ActorDiedError()

    monkeypatch.setattr(publish, "ray", SimpleNamespace(put=lambda bucket: bucket, get=lost))
    receiver = SimpleNamespace(load_bucket=SimpleNamespace(remote=lambda reference: reference))
    gathered = iter([(f"w{number}", torch.zeros(4)) for number in range(9)])
    with pytest.raises(ActorDiedError):
        publish.push(gathered, [receiver], "float32", bucket_bytes=1)
    assert next(gathered, None) is None


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    made = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    return made | {"lm_head.weight": made["model.embed.weight"]}


def sent(weights: dict[str, torch.Tensor]) -> Manifest:
    return Manifest({name: checksum(tensor) for name, tensor in weights.items()})


@given(st.lists(st.floats(width=32), min_size=1, max_size=50), st.integers(0, 49))
def test_a_checksum_sees_every_bit(values: list[float], place: int):
    tensor = torch.tensor(values)
    changed = tensor.clone()
    bits = changed.view(torch.int32)
    bits[place % len(values)] ^= 1
    assert checksum(tensor) != checksum(changed)
    assert checksum(tensor) == checksum(tensor.clone())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bucket_bytes", [1, 100, 10_000])
def test_buckets_carry_every_tensor(weights: dict[str, torch.Tensor], dtype: str, bucket_bytes: int):
    packed = list(buckets(weights.items(), dtype, bucket_bytes))
    arrived = {info.name: tensor for bucket in packed for info, tensor in bucket.tensors()}
    assert len(packed) == {1: len(weights), 10_000: 1}.get(bucket_bytes, len(packed))
    for name, tensor in weights.items():
        assert arrived[name].equal(tensor.to(getattr(torch, dtype)))
    for bucket in packed:
        assert all(checksum(tensor) == info.checksum for info, tensor in bucket.tensors())


def test_a_complete_load_has_no_problems(weights: dict[str, torch.Tensor]):
    model, receiver = FusedModel(), WeightReceiver()
    for bucket in buckets(weights.items(), "float32", 1):
        receiver.load(model, bucket)
    assert receiver.problems(model, sent(weights)) == []
    assert receiver.coverage(model, sent(weights)) == 1.0
    assert "lm_head.weight" not in model.given


def test_a_lost_bucket_is_named(weights: dict[str, torch.Tensor]):
    model, receiver = FusedModel(), WeightReceiver()
    for bucket in list(buckets(weights.items(), "float32", 1))[1:]:
        receiver.load(model, bucket)
    assert receiver.problems(model, sent(weights)) == [
        "1 tensors never arrived: model.embed.weight",
        "1 tensors differ in the engine: lm_head.weight",
    ]


def test_a_parameter_that_was_not_written_is_named(weights: dict[str, torch.Tensor]):
    model, receiver = FusedModel(), WeightReceiver()
    for bucket in buckets(weights.items(), "float32", 1):
        receiver.load(model, bucket)
    with torch.no_grad():
        model.model.attn.qkv_proj.weight[5] += 1  # a row of k
    assert receiver.problems(model, sent(weights)) == ["1 tensors differ in the engine: model.attn.k_proj.weight"]
    model.lm_head.weight = torch.nn.Parameter(torch.zeros(8, 4))
    assert "lm_head.weight" in receiver.problems(model, sent(weights))[0]


def test_damage_on_the_way_is_named(weights: dict[str, torch.Tensor]):
    model, receiver = FusedModel(), WeightReceiver()
    for bucket in buckets(weights.items(), "float32", 10_000):
        bucket.data[3] ^= 1
        receiver.load(model, bucket)
    assert receiver.problems(model, sent(weights))[0] == "1 tensors arrived damaged: model.embed.weight"


TRAINED = "model.attn.v_proj.weight"


def origins(weights: dict[str, torch.Tensor]) -> dict[str, BaseTensor]:
    return describe_base_tensors(weights.items(), {TRAINED}, "float32", is_sender=True)


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
    for bucket in buckets(changed.items(), "float32", 1):
        receiver.load(model, bucket)
    manifest = Manifest({TRAINED: checksum(changed[TRAINED])}, already_loaded=held)
    assert receiver.problems(model, manifest) == []
    assert receiver.coverage(model, manifest) == 1.0
    with torch.no_grad():
        model.model.patch.weight[0, 0] += 1
    assert receiver.problems(model, manifest) == ["1 tensors differ in the engine: model.patch.weight"]


def test_who_only_iterates_describes_nothing(weights: dict[str, torch.Tensor]):
    pending = iter(weights.items())
    assert describe_base_tensors(pending, {TRAINED}, "float32", is_sender=False) == {}
    assert next(pending, None) is None


def test_a_lost_part_of_a_fused_parameter_is_named(weights: dict[str, torch.Tensor]):
    model, receiver = FusedModel(), WeightReceiver()
    for bucket in buckets(weights.items(), "float32", 1):
        if bucket.infos[0].name != "model.attn.q_proj.weight":
            receiver.load(model, bucket)
    assert receiver.problems(model, sent(weights)) == ["1 tensors never arrived: model.attn.q_proj.weight"]


def test_a_layout_that_is_not_known_is_not_compared():
    live = LiveWeights(FusedModel(), {"model.patch.weight": (5, 5), "model.other": (2,)})
    assert live.find("model.patch.weight") is None
    assert live.find("model.other") is None
