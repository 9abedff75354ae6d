"""How large an image a vision-language model is shown: no larger than the recipe says.

One rule for everything that shows images to a model, or counts their tokens: the policy, the samplers of critic and
planner, SFT examples and the check of records. Images are scaled by the processor itself, once.
"""

from typing import Any

Processor = Any
"""A processor of transformers, which has no types: tokenizer and image processor."""
MODEL_PIXELS = 1_048_576
"""The largest image that a model is shown, where a recipe says nothing else: as released."""


def load_processor(model: str, max_pixels: int) -> Processor:
    """Return a checkpoint's processor, which scales larger images down to `max_pixels`."""
    from transformers import AutoProcessor  # late: it takes seconds

    processor = AutoProcessor.from_pretrained(model)
    limit_pixels(processor, max_pixels)
    return processor


def limit_pixels(processor: Processor, max_pixels: int) -> dict[str, int]:
    """Let a processor scale images down to `max_pixels`, and return its size setting; {} if it has none to limit.

    Qwen-VL's processors count pixels in `size`: longest_edge is the most, shortest_edge the least of an image.
    """
    images = getattr(processor, "image_processor", None) or processor
    own = dict(getattr(images, "size", None) or {})
    if not (own.get("longest_edge") and own.get("shortest_edge")):
        return {}
    limited: dict[str, int] = {edge: min(own[edge], max_pixels) for edge in ("shortest_edge", "longest_edge")}
    images.size = limited
    return limited
