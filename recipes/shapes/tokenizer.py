"""A small Qwen2 tokenizer in which every word of the shapes world is one token; it encodes any other text, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from recipes.shapes.world import WORDS

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
IMAGE_PAD = "<|image_pad|>"
_SPECIAL = (
    END_OF_TEXT,
    "<|im_start|>",
    END_OF_TURN,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    IMAGE_PAD,
    "<|video_pad|>",
)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_PLAIN_WORDS = "a an and at the sees nothing unclear true false system user assistant"
_ANSWERS = (
    '{"previous_step_success": true, "refine_prompt": "a"}',
    '{"previous_step_success": false, "refine_prompt": "a"}',
)
# Qwen's pattern for splitting text into words before merging.
_WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' or 'video' in part -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in part -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
"""Qwen's chat format; `message.content` is a string or a list of parts."""


def make_tokenizer(texts: tuple[str, ...] = ()) -> Qwen2Tokenizer:
    """Return the tokenizer; the words of `texts` become single tokens, like those of the world.

    >>> tokenizer = make_tokenizer()
    >>> tokenizer.tokenize("a ruby dot at the summit")
    ['a', 'Ġruby', 'Ġdot', 'Ġat', 'Ġthe', 'Ġsummit']
    """
    words = [word for synonyms in WORDS.values() for word in synonyms]
    corpus = [f"{word} {word}" for word in [*words, *_PLAIN_WORDS.split()]] + list(_ANSWERS) + list(texts)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_regex(), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    import json

    from transformers import Qwen2Tokenizer

    model = json.loads(bpe.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        unk_token=END_OF_TEXT,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [t for t in _SPECIAL if t not in (END_OF_TEXT, END_OF_TURN)]}
    )
    tokenizer.add_tokens(list(_TAGS))
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.padding_side = "right"
    tokenizer.model_max_length = 1024
    return tokenizer


def _regex():
    from tokenizers import Regex

    return Regex(_WORD_PATTERN)
