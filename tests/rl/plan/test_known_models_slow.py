"""The kept table is what transformers and diffusers build. Slow: to import them takes seconds."""

import pytest

import actors  # noqa: F401  (first: makes torchvision importable beside a CPU build of torch)
from rl.plan.known_models import CRITICS, PIPELINES
from rl.plan.models import model_size

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CRITICS)
def test_a_critic_has_the_parameters_of_its_class(name):
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**CRITICS[name]))
    model.tie_weights()
    size = model_size(f"Qwen/{name}-Instruct")
    assert size.num_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_table_has_the_critics_that_are_measured_with():
    from benchmarks.gpu.models import _TEXT, _VISION
    from benchmarks.gpu.models import CRITICS as MEASURED

    for name in MEASURED.keys() & CRITICS.keys():
        known, shape = CRITICS[name], MEASURED[name]
        assert {**_TEXT, **shape["text"]}.items() >= {
            key: value for key, value in known["text_config"].items() if key != "vocab_size"
        }.items()
        assert {**_VISION, **shape["vision"], "in_channels": 3}.items() >= known["vision_config"].items()


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_has_the_parameters_of_its_classes(name):
    import torch
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from benchmarks.gpu.models import GENERATORS

    size = GENERATORS[name]
    heads = {"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
    with torch.device("meta"):
        parts = {
            "transformer": Flux2Transformer2DModel(in_channels=128, guidance_embeds=False, **size["transformer"]),
            "text_encoder": Qwen3ForCausalLM(
                Qwen3Config(vocab_size=151_936, num_hidden_layers=36, **heads, **size["text_encoder"])
            ),
            "vae": AutoencoderKLFlux2(),
        }
    assert PIPELINES[name] == {
        part: sum(parameter.numel() for parameter in model.parameters()) for part, model in parts.items()
    }
