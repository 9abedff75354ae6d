"""The shapes world's generator: a real but tiny `Flux2KleinPipeline`."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from diffusers.utils import logging as diffusers_logging
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging as transformers_logging

from recipes.shapes.tokenizer import END_OF_TEXT, END_OF_TURN, make_tokenizer
from recipes.shapes.world import SIZE

NUM_STEPS = 4
CALL = {
    "height": SIZE,
    "width": SIZE,
    "num_inference_steps": NUM_STEPS,
    "guidance_scale": 1.0,
    "max_sequence_length": 24,
    "text_encoder_out_layers": (1, 2),
}
"""Arguments that the pipeline must be called with, besides image, prompt and generator."""

SHIFT = 2.0
"""Shifts the four steps towards the noise, where the picture is decided."""
_LATENT_CHANNELS = 8
_TEXT_WIDTH = 96
_WIDTH = 128


def new_pipeline(texts: tuple[str, ...] = ()) -> Flux2KleinPipeline:
    """Return the untrained pipeline, about 2 M parameters in float32."""
    tokenizer = make_tokenizer(texts)
    vae = AutoencoderKLFlux2(
        block_out_channels=(16, 16, 32, 48),
        decoder_block_out_channels=(8, 16, 32, 48),
        layers_per_block=1,
        latent_channels=_LATENT_CHANNELS,
        norm_num_groups=4,
        sample_size=SIZE,
        mid_block_add_attention=False,
    )
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=2 * _TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=3,
            num_key_value_heads=3,
            head_dim=32,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
            eos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TURN),
        )
    )
    transformer = Flux2Transformer2DModel(
        in_channels=4 * _LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=_WIDTH // 32,
        joint_attention_dim=len(CALL["text_encoder_out_layers"]) * _TEXT_WIDTH,
        timestep_guidance_channels=64,
        axes_dims_rope=(8, 8, 8, 8),
        guidance_embeds=False,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=SHIFT)
    return Flux2KleinPipeline(scheduler, vae, text_encoder, tokenizer, transformer, is_distilled=True)


def save(pipe: Flux2KleinPipeline, folder: Path) -> None:
    """Write the pipeline in half precision; load it with `dtype=torch.float32`."""
    pipe.to(torch.float16).save_pretrained(folder)
    pipe.to(torch.float32)
    for path in [folder / "model_index.json", *folder.glob("*/config.json")]:
        entries = json.loads(path.read_text(encoding="utf-8"))
        # The path that a part was loaded from during the build means nothing to its users.
        entries.pop("_name_or_path", None)
        path.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    (folder / "call.json").write_text(json.dumps(CALL, indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> Flux2KleinPipeline:
    """Load the trained pipeline in float32, without progress bars."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    pipe = Flux2KleinPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe
