"""Prompt embeddings and VAE latents of a pipeline's images, each computed once while there is room for it."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from actors.generator.content_cache import ContentCache, Tensors, content_key

if TYPE_CHECKING:
    import torch

Encode: TypeAlias = Callable[..., Tensors]


class EncoderCache:
    """Takes the place of a pipeline's encoders. What is kept is what they returned: no pixel depends on it."""

    def __init__(self, pipeline: object, max_bytes: int, *, pads_prompts: bool):
        """`pads_prompts`: each prompt is padded to one length, and what is returned begins with the batch's dimension.

        Its prompts are encoded one by one, whether anything is kept or not: an embedding does not depend on others.
        """
        self._cache = ContentCache(max_bytes)
        self._pads_prompts = pads_prompts
        self.counts: Counter[str] = Counter()
        """Hits since the start: prompt_hits, latent_hits."""
        for name, ours in (("encode_prompt", self._encode_prompt), ("_encode_vae_image", self._encode_image)):
            theirs = getattr(pipeline, name, None)
            if theirs is not None:
                setattr(pipeline, name, partial(ours, theirs))

    def _encode_prompt(self, encode: Encode, *arguments: object, **named: object) -> Tensors:
        import torch

        given = inspect.signature(encode).bind(*arguments, **named).arguments
        prompts = given.get("prompt")
        if not isinstance(prompts, list) or len(prompts) == 1:
            return self._once("prompt_hits", partial(encode, **given), *given.items())
        if not self._pads_prompts:
            return encode(**given)
        alone = [self._encode_prompt(encode, **given | {"prompt": [prompt]}) for prompt in prompts]
        return tuple(torch.cat(parts) for parts in zip(*alone, strict=True))

    def _encode_image(
        self, encode: Encode, image: torch.Tensor, generator: torch.Generator | list[torch.Generator] | None
    ) -> Tensors:
        """Return an image's latents: kept only where they are the distribution's mode, not a sample."""
        generators = [one for one in (generator if isinstance(generator, list) else [generator]) if one is not None]
        before = [one.get_state() for one in generators]

        def is_mode() -> bool:
            return all(one.get_state().equal(state) for one, state in zip(generators, before, strict=True))

        return self._once("latent_hits", partial(encode, image=image, generator=generator), image, is_kept=is_mode)

    def _once(
        self, hits: str, encode: Callable[[], Tensors], *depends_on: object, is_kept: Callable[[], bool] = lambda: True
    ) -> Tensors:
        try:
            key = content_key(hits, *depends_on)
        except TypeError:
            return encode()
        kept = self._cache.get(key)
        if kept is not None:
            self.counts[hits] += 1
            return kept
        made = encode()
        if is_kept():
            self._cache.put(key, made)
        return made
