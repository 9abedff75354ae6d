"""Tokens that only a prompt may contain, banned both in sampling and in training."""

BANNED_LOGIT = -1e4
"""Low enough that exp() is 0 next to any real logit, high enough to stay finite in 16 bits and after a temperature."""


def banned_tokens(hf_config: object) -> list[int]:
    """Return the ids of the vision tokens: a sampled one would stand for an image that does not exist.

    >>> from types import SimpleNamespace
    >>> banned_tokens(SimpleNamespace(image_token_id=7, vision_start_token_id=5))
    [5, 7]
    """
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    ids = (getattr(hf_config, name, None) for name in names)
    return sorted({token for token in ids if token is not None})
