"""A tiny FLUX.2-klein with random weights: the real pipeline class, for tests of everything around it."""

from pathlib import Path

import actors  # noqa: F401  (first: makes torchvision importable beside CPU torch)

SIZE = 64
CALL = {
    "num_inference_steps": 2,
    "guidance_scale": 1.0,
    "max_sequence_length": 16,
    "text_encoder_out_layers": (1, 2),
}
"""The pipeline's call arguments that fit these shapes."""

CONTRAST = 3.0
"""Fresh weights hardly look at prompt and image; so much larger ones move pixels by 50 of 255."""

_CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


KV_CALL = {name: value for name, value in CALL.items() if name != "guidance_scale"}
"""Those of the KV variant."""


def build(folder: Path, seed: int = 0, pipeline: str = "Flux2KleinPipeline") -> Path:
    """Write the pipeline, or its KV variant, to `folder` and return it."""
    import diffusers
    import torch
    from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=64,
        )
    )
    num_layers = 1 if pipeline == "Flux2KleinPipeline" else 2  # two: keys of the second see what the first attended to
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=num_layers,
        num_single_layers=num_layers,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=64,
        timestep_guidance_channels=32,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    with torch.no_grad():
        for weight in transformer.parameters():
            if weight.ndim == 2:
                weight *= CONTRAST
    made = getattr(diffusers, pipeline)(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=True,
    )
    made.save_pretrained(folder)
    return Path(folder)


def _tokenizer():
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import Qwen2TokenizerFast

    vocab = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = Qwen2TokenizerFast(tokenizer_object=inner, pad_token="<|endoftext|>", eos_token="<|endoftext|>")
    tokenizer.chat_template = _CHAT
    return tokenizer
