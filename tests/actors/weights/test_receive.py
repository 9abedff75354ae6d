"""Weights that have arrived, without Ray and vLLM: what an engine loads, and what differs from what was sent."""

import torch

from actors.weights.receive import LiveWeights, WeightReceiver, missing_tensors
from actors.weights.send import describe_base_tensors
from actors.weights.wire import BaseTensor, Manifest, buckets, checksum


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


def sent(weights: dict[str, torch.Tensor]) -> Manifest:
    return Manifest({name: checksum(tensor) for name, tensor in weights.items()})


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
