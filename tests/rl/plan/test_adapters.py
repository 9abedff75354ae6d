"""What a publish of adapters sends, and what an engine holds of them."""

from dataclasses import replace

from actors.config import LoraConfig, PolicyConfig, SamplerConfig
from rl.plan.adapters import adapters_of, published_values
from rl.plan.cards import card_of
from rl.plan.known_models import CRITICS
from rl.plan.memory import sampler_memory
from rl.plan.models import ModelSize
from rl.recipe.reader import load_recipe
from tests.support.source_tree import REPO

MODEL = ModelSize("8B", CRITICS["Qwen3-VL-8B"], "here")
POLICY = PolicyConfig(model="m", freeze_vision=True, lora=LoraConfig(rank=32, targets=["q_proj"]))


def test_adapters_have_inputs_and_outputs_times_the_rank():
    """Of q_proj in 36 layers, 4096 to 4096."""
    assert sum(one.num_parameters for one in adapters_of(POLICY, MODEL)) == 36 * 32 * (4096 + 4096)
    assert list(adapters_of(replace(POLICY, lora=LoraConfig()), MODEL)) == []


def test_merged_weights_are_sent_whole_and_adapters_alone():
    recipe = load_recipe(
        REPO / "recipes" / "critic_grpo_lora.yaml", ["policy.lora.targets=[q_proj]", "policy.lora.rank=32"]
    )
    assert published_values(recipe, MODEL) == MODEL.num_parameters
    held = replace(recipe, samplers=replace(recipe.samplers, as_adapters=True))
    assert published_values(held, MODEL) == 36 * 32 * (4096 + 4096)


def test_an_engine_holds_them_beside_the_model():
    config = SamplerConfig(gpus_per_sampler=1, dtype="bfloat16")
    parts = [
        {
            part.name: part.num_bytes
            for part in sampler_memory(config, MODEL, card_of("H100"), num_adapter_values=n).parts
        }
        for n in (0, 1 << 20)
    ]
    assert parts[1]["adapters"] == 2 << 20
    assert parts[0]["key-value cache"] - parts[1]["key-value cache"] == 2 << 20
    assert "adapters" not in parts[0]
