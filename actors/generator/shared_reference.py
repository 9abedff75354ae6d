"""FLUX.2-klein KV: the keys and values of a reference, computed once for all edits of it.

In `Flux2KleinKVPipeline` the tokens of the before-images attend to themselves alone, and are modulated by a timestep
of their own that is always 0: their keys and values depend neither on prompt, noise and step nor on the batch. The
pipeline computes them in each call's first step, once for every prompt. Here that first step is cut in two: the
reference by itself, kept for the next calls, and the edits over it, which is what all further steps are anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from diffusers.models.transformers.transformer_flux2 import Flux2KVCache, Flux2Transformer2DModel


class SharedReference:
    """Takes the place of a `Flux2Transformer2DModel`'s forward; keeps one reference: edits of one image come together.

    At 1024 x 1024 pixels and 9B parameters in bfloat16 it takes 2 GiB.
    """

    def __init__(self, transformer: Flux2Transformer2DModel):
        self._forward = transformer.forward
        self._kept: tuple[torch.Tensor, torch.Tensor, Flux2KVCache] | None = None
        self.num_computed = 0
        transformer.forward = self.forward

    def forward(
        self,
        hidden_states: torch.Tensor,
        *,
        img_ids: torch.Tensor,
        kv_cache_mode: str | None = None,
        num_ref_tokens: int = 0,
        **given: object,
    ) -> tuple[object, ...]:
        """As `Flux2Transformer2DModel.forward` with `return_dict=False`.

        `hidden_states` (batch, tokens, channels) and `img_ids` (batch, tokens, 4) begin with the reference's tokens in
        mode "extract"; those are equal in all rows of a batch.
        """
        if kv_cache_mode != "extract":
            given |= {"kv_cache_mode": kv_cache_mode, "num_ref_tokens": num_ref_tokens}
            return tuple(self._forward(hidden_states, img_ids=img_ids, **given))
        kept = self._cache_of(hidden_states[:1, :num_ref_tokens], img_ids[:1, :num_ref_tokens], given)
        cache = self._for_batch(kept, len(hidden_states))
        edits = {"hidden_states": hidden_states[:, num_ref_tokens:], "img_ids": img_ids[:, num_ref_tokens:]}
        return *self._forward(**given | edits, kv_cache=cache, kv_cache_mode="cached"), cache

    def _cache_of(self, reference: torch.Tensor, ids: torch.Tensor, given: Mapping[str, torch.Tensor]) -> Flux2KVCache:
        if self._kept is None or not (self._kept[0].equal(reference) and self._kept[1].equal(ids)):
            self._kept = None  # first, so that there are never two
            # Queries need not be there, but no attention back-end is made for none: one token of the text asks.
            one = {name: given[name][:1, :1] for name in ("encoder_hidden_states", "txt_ids")}
            alone = {"img_ids": ids, "kv_cache_mode": "extract", "num_ref_tokens": reference.shape[1]}
            *_, cache = self._forward(reference, **{**given, **one, **alone, "timestep": given["timestep"][:1]})
            self._kept = reference, ids, cache
            self.num_computed += 1
        return self._kept[2]

    def _for_batch(self, kept: Flux2KVCache, size: int) -> Flux2KVCache:
        """Return the same keys and values for each row of a batch, as views; the pipeline clears what it is given."""
        from diffusers.models.transformers.transformer_flux2 import Flux2KVCache

        theirs = Flux2KVCache(len(kept.double_block_caches), len(kept.single_block_caches))
        theirs.num_ref_tokens = kept.num_ref_tokens
        pairs = (
            *zip(theirs.double_block_caches, kept.double_block_caches, strict=True),
            *zip(theirs.single_block_caches, kept.single_block_caches, strict=True),
        )
        for layer, ours in pairs:
            layer.store(*(part.expand(size, -1, -1, -1) for part in ours.get()))
        return theirs
