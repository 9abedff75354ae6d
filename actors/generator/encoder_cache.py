"""Prompt embeddings and VAE latents of a pipeline's images, each computed once while there is room for it."""

import inspect
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from actors.generator.content_cache import ContentCache, Tensors, content_key

Encode = Callable[..., Any]

PROMPT, LATENTS = "encode_prompt", "_encode_vae_image"


class EncoderCache:
    """Takes the place of a pipeline's encoders. What is kept is what they returned: no pixel depends on it."""

    def __init__(self, pipeline: Any, max_bytes: int, *, pads_prompts: bool):
        """`pads_prompts`: each prompt is padded to one length, and what is returned begins with the batch's dimension.

        Its prompts are encoded one by one, whether anything is kept or not: an embedding does not depend on others.
        """
        self._cache = ContentCache(max_bytes)
        self._pads_prompts = pads_prompts
        self.counts: Counter[str] = Counter()
        """Hits since the start: prompt_hits, latent_hits."""
        for name, ours in ((PROMPT, self._embed), (LATENTS, self._encode_image)):
            theirs = getattr(pipeline, name, None)
            if theirs is not None:
                setattr(pipeline, name, partial(ours, theirs))

    def _embed(self, encode: Encode, *arguments: Any, **named: Any) -> Any:
        import torch

        given = inspect.signature(encode).bind(*arguments, **named).arguments
        prompts = given.get("prompt")
        if not isinstance(prompts, list) or len(prompts) == 1:
            return self._once("prompt_hits", partial(encode, **given), *given.items())
        if not self._pads_prompts:
            return encode(**given)
        alone = [self._embed(encode, **given | {"prompt": [prompt]}) for prompt in prompts]
        return tuple(torch.cat(parts) for parts in zip(*alone, strict=True))

    def _encode_image(self, encode: Encode, image: Any, generator: Any) -> Any:
        """Return an image's latents: from the cache only where they are the distribution's mode, not a sample."""
        generators = generator if isinstance(generator, list) else [generator]
        before = [one.get_state() for one in generators if one is not None]

        def is_same() -> bool:
            states = [one.get_state() for one in generators if one is not None]
            return all(one.equal(other) for one, other in zip(before, states, strict=True))

        return self._once("latent_hits", partial(encode, image=image, generator=generator), image, is_kept=is_same)

    def _once(self, hits: str, encode: Encode, *depends_on: object, is_kept: Callable[[], bool] = lambda: True) -> Any:
        try:
            key = content_key(hits, *depends_on)
        except TypeError:
            return encode()
        kept: Tensors = self._cache.get(key)
        if kept is not None:
            self.counts[hits] += 1
            return kept
        made = encode()
        if is_kept():
            self._cache.put(key, made)
        return made
