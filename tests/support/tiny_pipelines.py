"""Tiny pipelines with random weights, each of the real class that an entry of `actors/generator/registry.py` names."""

import importlib
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import actors  # noqa: F401  (first: makes torchvision importable beside CPU torch)
from tests.support import tiny_generator

HIDDEN = 32
_NAMED = {
    "start_token": "<|im_start|>",
    "end_token": "<|im_end|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
}

CALLS: dict[str, dict[str, Any]] = {
    "Flux2KleinPipeline": tiny_generator.CALL,
    "Flux2KleinKVPipeline": tiny_generator.KV_CALL,
    "FluxPipeline": {"num_inference_steps": 2, "max_sequence_length": 32},
    "FluxFillPipeline": {"num_inference_steps": 2, "max_sequence_length": 32},
    "FluxKontextPipeline": {"num_inference_steps": 2, "max_sequence_length": 32, "_auto_resize": False},
    "QwenImagePipeline": {"num_inference_steps": 2},
    "QwenImageEditPipeline": {"num_inference_steps": 1},
    "QwenImageEditPlusPipeline": {"num_inference_steps": 1},
    "LongCatImageEditPipeline": {"num_inference_steps": 1, "guidance_scale": 1.0},
    "DiffusionPipeline": {"num_inference_steps": 2},
}
"""What the calls need to be short."""


def build(pipeline: str, folder: Path, seed: int = 0) -> Path:
    """Write a pipeline of this class to `folder` and return it."""
    import torch

    torch.manual_seed(seed)
    if pipeline.startswith("Flux2Klein"):
        return tiny_generator.build(folder, seed, pipeline)
    _BUILDERS[pipeline](pipeline).save_pretrained(folder)
    if pipeline == "DiffusionPipeline":
        (Path(folder) / "pipeline.py").write_text(OWN_CODE)
    return Path(folder)


def scale_less(monkeypatch: Any) -> None:
    """Let the pipelines that scale every image to a megapixel scale it to 1/64 of that."""
    for name in ("qwenimage.pipeline_qwenimage_edit", "qwenimage.pipeline_qwenimage_edit_plus"):
        _scale_less(monkeypatch, f"diffusers.pipelines.{name}")
    _scale_less(monkeypatch, "diffusers.pipelines.longcat_image.pipeline_longcat_image_edit")


def _scale_less(monkeypatch: Any, name: str) -> None:
    module = importlib.import_module(name)
    whole = module.calculate_dimensions
    monkeypatch.setattr(module, "calculate_dimensions", lambda area, ratio: whole(area / 64, ratio))


def write_lora(folder: Path, seed: int = 1) -> Path:
    """Write LoRA weights of the tiny Qwen-Image transformer to `folder`, large enough to be seen."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    weights = {}
    for name in ("attn.to_q", "attn.to_k", "attn.to_v", "img_mlp.net.2"):
        width = 4 * HIDDEN if name.startswith("img_mlp") else HIDDEN
        weights[f"transformer.transformer_blocks.0.{name}.lora_A.weight"] = torch.randn(4, width)
        weights[f"transformer.transformer_blocks.0.{name}.lora_B.weight"] = torch.randn(HIDDEN, 4)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "lora.safetensors")
    return folder


def _strong(module: Any) -> Any:
    """Make a fresh transformer look at its inputs: so large weights move pixels."""
    import torch

    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 2:
                weight *= tiny_generator.CONTRAST
    return module


def _scheduler() -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)


def _kl(latent_channels: int) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=2,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.1,
        scaling_factor=1.0,
    )


def _flux(name: str) -> Any:
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    is_fill = name == "FluxFillPipeline"
    vae = _kl(4)
    clip, t5 = _tokenizer(), _tokenizer()
    clip.model_max_length, t5.model_max_length = 64, 64
    shape = {"hidden_size": HIDDEN, "intermediate_size": 37, "num_attention_heads": 2, "num_hidden_layers": 1}
    text = CLIPTextModel(CLIPTextConfig(**shape, projection_dim=HIDDEN, vocab_size=len(clip)))
    t5_shape = {"d_model": HIDDEN, "d_ff": 37, "d_kv": 8, "num_layers": 2, "num_heads": 2}
    transformer = diffusers.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16 + 16 + 4 * 8 * 8 if is_fill else 16,  # latents, masked latents, and the mask in patches
        out_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=HIDDEN,
        pooled_projection_dim=HIDDEN,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return getattr(diffusers, name)(
        scheduler=_scheduler(),
        vae=vae,
        text_encoder=text,
        tokenizer=clip,
        text_encoder_2=T5EncoderModel(T5Config(vocab_size=len(t5), **t5_shape)),
        tokenizer_2=t5,
        transformer=_strong(transformer),
    )


def _qwen(name: str) -> Any:
    import diffusers

    vae = diffusers.AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=HIDDEN,
        guidance_embeds=False,
        axes_dims_rope=(8, 4, 4),
    )
    tokenizer = _tokenizer()
    parts = {} if name == "QwenImagePipeline" else {"processor": _processor(tokenizer)}
    return getattr(diffusers, name)(
        scheduler=_scheduler(),
        vae=vae,
        text_encoder=_qwen_vl(tokenizer),
        tokenizer=tokenizer,
        transformer=_strong(transformer),
        **parts,
    )


def _longcat(name: str) -> Any:
    import diffusers

    tokenizer = _tokenizer()
    transformer = diffusers.LongCatImageTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=HIDDEN,
        pooled_projection_dim=HIDDEN,
        axes_dims_rope=[4, 4, 8],
    )
    return getattr(diffusers, name)(
        scheduler=_scheduler(),
        vae=_kl(16),
        text_encoder=_qwen_vl(tokenizer),
        tokenizer=tokenizer,
        text_processor=_processor(tokenizer),
        transformer=_strong(transformer),
    )


def _custom(name: str) -> Any:
    namespace: dict[str, Any] = {"__name__": "pipeline"}
    exec(OWN_CODE, namespace)
    return namespace["OmniGen2Pipeline"](vae=_kl(4), scheduler=_scheduler())


def _qwen_vl(tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", *_NAMED.values())}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": 1,
        "hidden_size": HIDDEN,
        "intermediate_size": HIDDEN,
        "num_heads": 2,
        "out_hidden_size": HIDDEN,
        "patch_size": 4,
        "window_size": 16,
        "fullatt_block_indexes": [0],
    }
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=text,
            vision_config=vision,
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
        )
    ).eval()


def _processor(tokenizer: Any) -> Any:
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

    size = {"shortest_edge": 16 * 16, "longest_edge": 32 * 32}
    shape = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, **shape),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size, **shape),
        chat_template="",
    )


def _tokenizer() -> Any:
    """Return a byte-level tokenizer with the tokens of a vision model."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import Qwen2TokenizerFast

    vocab = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return Qwen2TokenizerFast(
        tokenizer_object=inner,
        pad_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        extra_special_tokens=_NAMED,
    )


_BUILDERS: dict[str, Callable[[str], Any]] = {
    "FluxPipeline": _flux,
    "FluxKontextPipeline": _flux,
    "FluxFillPipeline": _flux,
    "QwenImagePipeline": _qwen,
    "QwenImageEditPipeline": _qwen,
    "QwenImageEditPlusPipeline": _qwen,
    "LongCatImageEditPipeline": _longcat,
    "DiffusionPipeline": _custom,
}

OWN_CODE = textwrap.dedent(
    '''
    """A pipeline that diffusers does not have, called as OmniGen2's is."""

    import torch
    from diffusers import AutoencoderKL, DiffusionPipeline, FlowMatchEulerDiscreteScheduler, ImagePipelineOutput
    from diffusers.image_processor import VaeImageProcessor
    from diffusers.utils.torch_utils import randn_tensor


    class OmniGen2Pipeline(DiffusionPipeline):
        def __init__(self, vae: AutoencoderKL, scheduler: FlowMatchEulerDiscreteScheduler):
            super().__init__()
            self.register_modules(vae=vae, scheduler=scheduler)
            self.image_processor = VaeImageProcessor(vae_scale_factor=8)

        @torch.no_grad()
        def __call__(
            self,
            prompt,
            negative_prompt=None,
            input_images=None,
            height=None,
            width=None,
            num_inference_steps=28,
            text_guidance_scale=4.0,
            image_guidance_scale=1.0,
            generator=None,
        ):
            assert isinstance(prompt, list) and len(prompt) == 1
            latents = randn_tensor((1, 4, height // 8, width // 8), generator=generator)
            for image in input_images or []:
                pixels = self.image_processor.preprocess(image, height=height, width=width)
                latents = latents + image_guidance_scale * self.vae.encode(pixels).latent_dist.mode()
            for _ in range(num_inference_steps):
                latents = latents + text_guidance_scale * len(prompt[0]) / 100
            return ImagePipelineOutput(images=self.image_processor.postprocess(self.vae.decode(latents).sample))
    '''
).lstrip()
