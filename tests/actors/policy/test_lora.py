"""Adapters without ranks and engines: which layers get them, and what base and adapters are together."""

import pytest
import torch

from actors.config import LoraConfig, PolicyConfig
from actors.policy.lora import (
    adapter_weights,
    base_weights,
    check_layers,
    merged_weights,
    model_settings,
    plain_weights,
    separate_weights,
    without_adapters,
)

RANK, ALPHA = 2, 6


class Tiny(torch.nn.Module):
    """A tower and a language model, two linear layers each, and a convolution and a norm."""

    def __init__(self):
        super().__init__()
        self.visual = torch.nn.ModuleDict({"fc1": torch.nn.Linear(4, 5), "patch": torch.nn.Conv3d(1, 4, (1, 1, 1))})
        self.language = torch.nn.ModuleDict(
            {"q_proj": torch.nn.Linear(5, 5, bias=False), "fc1": torch.nn.Linear(5, 3), "norm": torch.nn.LayerNorm(3)}
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        for layer in (self.visual["fc1"], *self.language.values()):
            hidden = layer(hidden)
        return hidden


@pytest.fixture
def plain() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


def adapted(plain: Tiny, lora: LoraConfig, *, freeze_vision: bool = True) -> torch.nn.Module:
    """Wrap as verl does, and move the adapters away from their start, where they do nothing."""
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model

    settings = model_settings(PolicyConfig(freeze_vision=freeze_vision, lora=lora))
    names = {"lora_rank": "r"}
    model = get_peft_model(plain, PeftConfig(**{names.get(name, name): value for name, value in settings.items()}))
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    return model


def touched(model: torch.nn.Module) -> set[str]:
    return {name for name, weight in plain_weights(model.state_dict()).items() if weight.is_adapted}


def test_without_lora_verl_is_told_nothing():
    assert model_settings(PolicyConfig()) == {}


@pytest.mark.parametrize(
    ("targets", "freeze_vision", "expected"),
    [
        (["all-linear"], True, {"language.q_proj.weight", "language.fc1.weight"}),
        (["all-linear"], False, {"language.q_proj.weight", "language.fc1.weight", "visual.fc1.weight"}),
        (["fc1"], True, {"language.fc1.weight"}),
        (["q_proj", "visual.fc1"], False, {"language.q_proj.weight", "visual.fc1.weight"}),
    ],
)
def test_who_gets_an_adapter(plain: Tiny, targets: list[str], freeze_vision: bool, expected: set[str]):
    lora = LoraConfig(rank=RANK, alpha=ALPHA, targets=targets)
    model = adapted(plain, lora, freeze_vision=freeze_vision)
    check_layers(model, lora)
    assert touched(model) == expected
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == {
        name for name in model.state_dict() if "lora_" in name
    }


@pytest.mark.parametrize(
    ("targets", "freeze_vision", "message"),
    [
        (["q_proj", "k_proj"], True, r"no trained layer is called k_proj; those found: .*q_proj"),
        (["q_proj", "visual.fc1"], True, r"called visual\.fc1"),
        (["q_proj", "patch"], False, r"visual\.patch is a Conv3d; expected names of linear layers"),
    ],
)
def test_a_target_that_cannot_be_is_explained(plain: Tiny, targets: list[str], freeze_vision: bool, message: str):
    lora = LoraConfig(rank=RANK, targets=targets)
    with pytest.raises(ValueError, match=message):
        check_layers(adapted(plain, lora, freeze_vision=freeze_vision), lora)


def test_merged_weights_are_a_plain_model_that_computes_the_same(plain: Tiny):
    names, lora, inputs = set(plain.state_dict()), LoraConfig(rank=RANK, alpha=ALPHA), torch.randn(7, 4)
    before = plain(inputs)
    model = adapted(plain, lora)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other = Tiny()
    other.load_state_dict(dict(merged_weights(model.state_dict(), lora.scale)))
    torch.testing.assert_close(other(inputs), model(inputs))
    assert (other(inputs) - before).abs().max() > 0.1
    assert set(other.state_dict()) == names
    assert all(tensor.equal(state[name]) for name, tensor in model.state_dict().items())


def test_what_is_skipped_is_not_gathered(plain: Tiny):
    model = adapted(plain, LoraConfig(rank=RANK))
    untouched = set(plain_weights(model.state_dict())) - touched(model)
    assert {name for name, _ in merged_weights(model.state_dict(), 1.0, untouched)} == touched(model)


def test_adapters_are_called_as_in_peft_s_files(plain: Tiny):
    from peft import get_peft_model_state_dict

    model = adapted(plain, LoraConfig(rank=RANK))
    expected = get_peft_model_state_dict(model)
    found = dict(adapter_weights(model.state_dict()))
    assert found.keys() == expected.keys()
    assert all(found[name].equal(expected[name]) for name in expected)


def test_without_its_adapters_the_model_is_the_one_before(plain: Tiny):
    inputs = torch.randn(7, 4)
    before = plain(inputs)
    model = adapted(plain, LoraConfig(rank=RANK))
    after = model(inputs)
    with without_adapters(model):
        assert model(inputs).equal(before)
        assert any(parameter.requires_grad for parameter in model.parameters())
    assert model(inputs).equal(after)


def test_base_and_scaled_adapters_are_what_is_merged(plain: Tiny):
    """An engine that holds both multiplies its matrices as they are: vLLM's kernels know no scale."""
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    lora = LoraConfig(rank=RANK, alpha=ALPHA)
    state = adapted(plain, lora).state_dict()
    base, held = dict(base_weights(state)), dict(separate_weights(state, lora.scale))
    assert {name: tensor.tolist() for name, tensor in base.items()} == {
        name: tensor.tolist() for name, tensor in before.items()
    }
    assert set(dict(base_weights(state, skipped={"language.norm.bias"}))) == set(before) - {"language.norm.bias"}
    layers = "language.q_proj", "language.fc1"
    assert set(held) == {f"{layer}.lora_{side}.weight" for layer in layers for side in "AB"}
    merged = dict(merged_weights(state, lora.scale))
    for layer in layers:
        change = held[f"{layer}.lora_B.weight"] @ held[f"{layer}.lora_A.weight"]
        assert torch.allclose(base[f"{layer}.weight"] + change, merged[f"{layer}.weight"], atol=1e-6)
        assert change.abs().max() > 0.1
