"""The shapes world's critic: a real but tiny Qwen3-VL, with its processor."""

from pathlib import Path

import torch
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from recipes.shapes.sft import PROMPT_FILE
from recipes.shapes.tokenizer import CHAT_TEMPLATE, END_OF_TEXT, END_OF_TURN, IMAGE_PAD, make_tokenizer
from recipes.shapes.world import SIZE

PATCH = 8
MERGE = 2
"""A token of the language model covers PATCH x MERGE pixels per side: 16 tokens per image."""
_WIDTH = 128


def new_processor(texts: tuple[str, ...] = ()) -> Qwen3VLProcessor:
    """Return the processor; an image of the world keeps its size. The words of `texts` are single tokens."""
    tokenizer = make_tokenizer((PROMPT_FILE.read_text(encoding="utf-8"), *texts))
    size = {"shortest_edge": SIZE * SIZE, "longest_edge": SIZE * SIZE}
    shape = {"patch_size": PATCH, "temporal_patch_size": 2, "merge_size": MERGE}
    normal = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**shape, **normal, size=size),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**shape, **normal, size=size),
        chat_template=CHAT_TEMPLATE,
    )


def new_model(processor: Qwen3VLProcessor) -> Qwen3VLForConditionalGeneration:
    """Return the untrained model, about 2.5 M parameters in float32."""
    tokenizer = processor.tokenizer
    token_id = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": _WIDTH,
        "intermediate_size": 3 * _WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": 1024,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [8, 4, 4],
            "mrope_interleaved": True,
        },
        "pad_token_id": token_id(END_OF_TEXT),
        "eos_token_id": token_id(END_OF_TURN),
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 3,
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": _WIDTH,
        "num_position_embeddings": (SIZE // PATCH) ** 2,
        "deepstack_visual_indexes": [0, 1],
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token_id(IMAGE_PAD),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    model = Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = [token_id(END_OF_TURN), token_id(END_OF_TEXT)]
    model.generation_config.pad_token_id = token_id(END_OF_TEXT)
    return model


def save(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, folder: Path) -> None:
    """Write weights (half precision) and processor; load the weights with `dtype=torch.float32`."""
    model.to(torch.float16).save_pretrained(folder)
    model.to(torch.float32)
    processor.save_pretrained(folder)


def load(folder: Path) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """Load the critic in float32."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model, Qwen3VLProcessor.from_pretrained(folder)
