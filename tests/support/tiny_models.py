"""A random Qwen3-VL of 0.3 M parameters with tokenizer, processor and chat template, as transformers and vLLM load."""

from pathlib import Path

CHAT_TEMPLATE = """{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}\
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

_END, _PAD = "<|im_end|>", "<|endoftext|>"
_VISION = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
}
_CORPUS = (
    "compare the two images and say whether the step succeeded. make it a red circle left of a blue square",
    '<think>the left circle is red</think><answer>{"previous_step_success": true, "refine_prompt": "red"}</answer>',
)


def build_tiny_critic(folder: Path, seed: int = 0, largest_side: int = 64, patch: int = 4) -> Path:
    """Write a random checkpoint for 32x32 images (patch 4, merge 2: 16 tokens each) to `folder` and return it.

    Larger images, up to `largest_side` pixels a side, keep their size: a token is two patches a side.
    """
    import torch
    from transformers import GenerationConfig, Qwen3VLForConditionalGeneration

    processor = _processor(largest_side, patch)
    tokenizer = processor.tokenizer
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in (_END, _PAD, "<|im_start|>", *_VISION.values())}
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(_config(ids, len(tokenizer), patch))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Large enough that images and positions matter to the answer, else a stale cache would not show.
            if parameter.dim() >= 2:
                parameter.normal_(0, 0.15)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.05)
    model.generation_config = GenerationConfig(eos_token_id=[ids[_END], ids[_PAD]], pad_token_id=ids[_PAD])
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _config(ids: dict[str, int], vocab_size: int, patch: int):
    from transformers import Qwen3VLConfig

    text = {
        "vocab_size": vocab_size,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 1024,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [8, 4, 4],
            "mrope_interleaved": True,
        },
        "pad_token_id": ids[_PAD],
        "eos_token_id": ids[_END],
        "bos_token_id": None,
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "patch_size": patch,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 64,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0],
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def _processor(largest_side: int = 64, patch: int = 4):
    """Return the processor around a byte-level BPE tokenizer trained on two sentences."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2VLImageProcessor, Qwen3VLProcessor
    from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

    special = [_PAD, "<|im_start|>", _END, *_VISION.values()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=384, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(_CORPUS * 10, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=_END, pad_token=_PAD, extra_special_tokens=_VISION, model_max_length=1024
    )
    size = {"shortest_edge": 32 * 32, "longest_edge": largest_side * largest_side}
    shape = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2}
    normal = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, **shape, **normal),
        tokenizer=fast,
        video_processor=Qwen3VLVideoProcessor(size=size, **shape, **normal),
        chat_template=CHAT_TEMPLATE,
    )
