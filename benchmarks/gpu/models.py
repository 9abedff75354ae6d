"""Models of the published sizes with random weights: nothing to download, and as slow and as large as the real ones."""

from pathlib import Path
from typing import Any

import actors  # noqa: F401  (first: makes torchvision importable beside a CPU build of torch)

import torch  # isort: skip

from recipes.shapes.critic import new_processor
from recipes.shapes.tokenizer import END_OF_TEXT, END_OF_TURN, IMAGE_PAD

CRITICS: dict[str, dict[str, dict[str, Any]]] = {
    "Qwen3-VL-4B": {
        "text": {"hidden_size": 2560, "intermediate_size": 9728, "tie_word_embeddings": True},
        "vision": {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "out_hidden_size": 2560}
        | {"deepstack_visual_indexes": [5, 11, 17]},
    },
    "Qwen3-VL-8B": {
        "text": {"hidden_size": 4096, "intermediate_size": 12288, "tie_word_embeddings": False},
        "vision": {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "out_hidden_size": 4096}
        | {"deepstack_visual_indexes": [8, 16, 24]},
    },
    "tiny": {
        "text": {"hidden_size": 64, "intermediate_size": 128, "tie_word_embeddings": True, "num_hidden_layers": 3}
        | {"num_attention_heads": 4, "num_key_value_heads": 2},
        "vision": {"depth": 3, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 64}
        | {"deepstack_visual_indexes": [0, 1]},
    },
}
"""As in the `config.json` of Qwen/Qwen3-VL-*-Instruct, and a tiny one to try things on; the rest is alike in all."""
_TEXT = {
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 262144,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5_000_000.0,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}
_VISION = {
    "num_heads": 16,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "num_position_embeddings": 2304,
}
_NUM_WORDS = 151_936
"""Qwen's vocabulary; what the small tokenizer lacks of it are words without a meaning."""

GENERATORS: dict[str, dict[str, dict[str, Any]]] = {
    "FLUX.2-klein-4B": {
        "transformer": {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24}
        | {"joint_attention_dim": 7680},
        "text_encoder": {"hidden_size": 2560, "intermediate_size": 9728},
    },
    "FLUX.2-klein-9B": {
        "transformer": {"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32}
        | {"joint_attention_dim": 12288},
        "text_encoder": {"hidden_size": 4096, "intermediate_size": 12288},
    },
    "tiny": {
        "transformer": {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 2, "joint_attention_dim": 192},
        "text_encoder": {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2}
        | {"num_key_value_heads": 1, "num_hidden_layers": 28, "vocab_size": 4096},
        "vae": {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1},
    },
}
"""As in the `config.json` of black-forest-labs/FLUX.2-klein-*, and a tiny one to try things on."""


def new_critic(name: str, device: str) -> tuple[Any, Any]:
    """Return a critic and a processor that sees 1024 tokens of a 1024 x 1024 image."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    processor = new_processor()
    tokenizer = processor.tokenizer
    tokenizer.add_tokens([f"<|word_{number}|>" for number in range(_NUM_WORDS - len(tokenizer))])
    images = processor.image_processor
    images.patch_size, images.size = 16, {"shortest_edge": 65536, "longest_edge": 1 << 20}
    token_id = tokenizer.convert_tokens_to_ids
    size = CRITICS[name]
    ends = {"pad_token_id": token_id(END_OF_TEXT), "eos_token_id": token_id(END_OF_TURN)}
    config = Qwen3VLConfig(
        text_config=_TEXT | size["text"] | ends | {"vocab_size": len(tokenizer)},
        vision_config=_VISION | size["vision"],
        image_token_id=token_id(IMAGE_PAD),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=size["text"]["tie_word_embeddings"],
    )
    model = _random(lambda: Qwen3VLForConditionalGeneration(config), device)
    model.generation_config.eos_token_id = [token_id(END_OF_TURN), token_id(END_OF_TEXT)]
    model.generation_config.pad_token_id = token_id(END_OF_TEXT)
    return model, processor


def new_generator(name: str, device: str, pipeline: str = "Flux2KleinPipeline") -> Any:
    """Return a FLUX.2-klein pipeline, or its KV variant with the same weights."""
    import diffusers
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    size = GENERATORS[name]
    shape = {"vocab_size": _NUM_WORDS, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8}
    text = Qwen3Config(**shape | size["text_encoder"], head_dim=128)
    return getattr(diffusers, pipeline)(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_random(lambda: AutoencoderKLFlux2(**size.get("vae", {})), device),
        text_encoder=_random(lambda: Qwen3ForCausalLM(text), device),
        tokenizer=new_processor().tokenizer,
        transformer=_random(
            lambda: Flux2Transformer2DModel(in_channels=128, guidance_embeds=False, **size["transformer"]), device
        ),
        is_distilled=True,
    )


def write_critic(name: str, folder: Path) -> Path:
    """Write a critic, in bfloat16 and made on the GPU, with its processor; return its folder."""
    for part in new_critic(name, "cuda"):
        part.save_pretrained(folder)
    return folder


def write_generator(name: str, folder: Path) -> Path:
    """Write a pipeline, in bfloat16 and made on the GPU; return its folder."""
    new_generator(name, "cuda").save_pretrained(folder)
    return folder


def _random(make: Any, device: str) -> Any:
    """Make a model's random weights where they are made fastest."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return make().eval()
    finally:
        torch.set_default_dtype(default)
