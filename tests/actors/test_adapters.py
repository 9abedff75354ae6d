"""Which recipes may publish adapters as such, and what their samplers make room for."""

from dataclasses import replace

import pytest

from actors.adapters import check_adapters, with_room
from actors.config import LoraConfig, PolicyConfig, SamplerConfig
from actors.sampler.arguments import ADAPTER_RANKS, engine_arguments
from actors.sampler_config import MAX_ADAPTER_RANK

POLICY = PolicyConfig(model="m", freeze_vision=True, lora=LoraConfig(rank=20))
SAMPLERS = SamplerConfig(as_adapters=True)


def test_samplers_make_room_for_the_policys_rank():
    check_adapters(POLICY, SAMPLERS)
    config = with_room(POLICY, SAMPLERS)
    arguments = engine_arguments(config, "m")
    assert config.adapter_rank == 20
    assert (arguments["enable_lora"], arguments["max_loras"], arguments["max_lora_rank"]) == (True, 1, 32)
    assert ADAPTER_RANKS[-1] == MAX_ADAPTER_RANK
    largest = engine_arguments(replace(config, adapter_rank=MAX_ADAPTER_RANK), "m")
    assert largest["max_lora_rank"] == MAX_ADAPTER_RANK


def test_merged_weights_need_no_room():
    merged = SamplerConfig()
    check_adapters(replace(POLICY, freeze_vision=False), merged)
    assert with_room(POLICY, merged) == merged
    assert "enable_lora" not in engine_arguments(merged, "m")


@pytest.mark.parametrize(
    ("policy", "samplers", "error"),
    [
        ({"lora": LoraConfig()}, {}, r"policy\.lora\.rank is 0; expected 1 to 512"),
        ({"lora": LoraConfig(rank=513)}, {}, r"policy\.lora\.rank is 513; expected 1 to 512"),
        ({"freeze_vision": False}, {}, r"no adapters of a vision tower.*set policy\.freeze_vision=true"),
        ({}, {"adapter_rank": 8}, r"samplers\.adapter_rank=8, but policy\.lora\.rank is 20: leave the first out"),
    ],
)
def test_what_vllm_cannot_hold_is_refused(policy, samplers, error):
    with pytest.raises(ValueError, match=error):
        check_adapters(replace(POLICY, **policy), replace(SAMPLERS, **samplers))


def test_layers_of_the_language_model_alone_need_no_frozen_tower():
    check_adapters(replace(POLICY, freeze_vision=False, lora=LoraConfig(rank=8, targets=["q_proj"])), SAMPLERS)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"adapter_rank": 8}, r"samplers\.adapter_rank=8, but nothing is published as an adapter"),
        ({"as_adapters": True, "gpus_per_sampler": 1}, r"on GPUs vLLM computes adapters in bfloat16 or float16"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, error):
    with pytest.raises(ValueError, match=error):
        SamplerConfig(**settings)
    SamplerConfig(as_adapters=True, gpus_per_sampler=1, dtype="bfloat16")
