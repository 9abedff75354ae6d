"""Rows of one prompt as one sequence: the prompt once, then the responses, none of which sees another.

A group of rows [prompt, r1], ..., [prompt, rn] becomes [prompt, r1, ..., rn]. A response's tokens keep the rotary
positions that they have in their row, and attend to the prompt and to what comes before them in their response. So all
that is computed of the prompt (text layers, images) is computed once, forward and backward: gradients add up there.

The attention is registered with transformers under `NAME`. On CPU it is torch's scaled_dot_product_attention, twice a
group; on a GPU it is one call of a variable-length FlashAttention: flash-attn's where it is installed, or torch's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import accumulate, chain, pairwise

import torch
from torch.nn.functional import scaled_dot_product_attention

from actors.policy.sequence_parallel import over_heads

NAME = "shared_prefix"
KERNELS = ("sdpa", "varlen", "flash_attn")


def attention_kernel(attn_implementation: str) -> str:
    """Return what computes the attention of `policy.attn_implementation`: sdpa, varlen (torch's own) or flash_attn."""
    if not attn_implementation.startswith("flash"):
        return "sdpa"
    return "flash_attn" if find_spec("flash_attn") else "varlen"


@dataclass(frozen=True)
class Span:
    """Where one group's tokens are in a packed sequence."""

    start: int
    prompt: int
    """Tokens of the prompt."""
    responses: tuple[int, ...]
    """Tokens of each response."""

    @property
    def length(self) -> int:
        return self.prompt + sum(self.responses)


class Layout:
    """How a packed sequence is made of groups, and what attention needs of it, computed once for all layers.

    No dataclass: FSDP would copy it to look for tensors.

    >>> layout = Layout([(3, (2, 1))], torch.device("cpu"))
    >>> layout.length, layout.predicting.tolist()
    (6, [2, 3, 2])
    """

    def __init__(self, groups: Sequence[tuple[int, Sequence[int]]], device: torch.device, kernel: str = "sdpa"):
        lengths = [prompt + sum(responses) for prompt, responses in groups]
        starts = accumulate(lengths, initial=0)
        self.spans = [Span(start, prompt, tuple(sizes)) for start, (prompt, sizes) in zip(starts, groups, strict=False)]
        self.length = sum(lengths)
        self.kernel = kernel
        self.device = device

    @cached_property
    def predicting(self) -> torch.Tensor:
        """Return the places whose output predicts each response token: (response tokens of all rows,)."""
        places: list[int] = []
        for span in self.spans:
            last, at = span.start + span.prompt - 1, span.start + span.prompt
            for size in span.responses:
                places += [last, *range(at, at + size - 1)]
                at += size
        return torch.tensor(places, device=self.device)

    @cached_property
    def masks(self) -> list[torch.Tensor]:
        """Return what the responses of each group may look at: (response tokens, prompt and response tokens)."""
        return [self._mask(span) for span in self.spans]

    def _mask(self, span: Span) -> torch.Tensor:
        size = sum(span.responses)
        mask = torch.zeros(size, span.length, dtype=torch.bool, device=self.device)
        mask[:, : span.prompt] = True
        for end, length in zip(accumulate(span.responses), span.responses, strict=True):
            own = torch.ones(length, length, dtype=torch.bool, device=self.device).tril()
            mask[end - length : end, span.prompt + end - length : span.prompt + end] = own
        return mask

    @cached_property
    def varlen(self) -> VarlenArguments:
        """Return the same for one call of a kernel for sequences of many lengths."""
        queries, keys, index = [0], [0], list[int]()
        for span in self.spans:
            for num_queries, seen in _pieces(span):
                queries.append(queries[-1] + num_queries)
                index += seen
                keys.append(len(index))
        return VarlenArguments(queries, keys, index, self.device)


def _pieces(span: Span) -> Iterator[tuple[int, Iterable[int]]]:
    """Yield sequences of a kernel that knows prompt and response as one: how many query, and the keys they see."""
    if len(span.responses) < 2:
        yield span.length, range(span.start, span.start + span.length)
        return
    prompt = range(span.start, span.start + span.prompt)
    yield span.prompt, prompt
    for end, size in zip(accumulate(span.responses), span.responses, strict=True):
        yield size, chain(prompt, range(prompt.stop + end - size, prompt.stop + end))


class VarlenArguments:
    """Borders of queries and keys, and which key stands at each place of the keys."""

    def __init__(self, queries: list[int], keys: list[int], index: list[int], device: torch.device):
        self.queries, self.keys = (
            torch.tensor(borders, dtype=torch.int32, device=device) for borders in (queries, keys)
        )
        self.longest_query, self.longest_key = (
            max(end - start for start, end in pairwise(borders)) for borders in (queries, keys)
        )
        self.index = torch.tensor(index, device=device)


@torch.compiler.disable  # every micro-batch has a layout of its own
def shared_prefix_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    layout: Layout,
    **options: float | None,
) -> tuple[torch.Tensor, None]:
    """Attend as `layout` says: query (1, heads, tokens, dim), key and value (1, fewer heads, tokens, dim).

    Of transformers' options only `scaling` matters here: policies are trained without dropout.

    Returns (1, tokens, heads, dim), as transformers wants it.
    """
    assert attention_mask is None, "the layout is the mask"
    attend = partial(_by_sdpa if layout.kernel == "sdpa" else _by_varlen, layout, options.get("scaling"))
    return over_heads(attend, query, key, value), None


def _by_sdpa(
    layout: Layout, scale: float | None, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    num_shared = query.shape[1] // key.shape[1]
    if num_shared > 1:
        key, value = (states.repeat_interleave(num_shared, dim=1) for states in (key, value))
    # Split and not sliced: the backward of a slice is a tensor of the whole length.
    groups = [states.split([span.length for span in layout.spans], dim=2) for states in (query, key, value)]
    found = []
    for span, mask, q, k, v in zip(layout.spans, layout.masks, *groups, strict=True):
        if len(span.responses) < 2:
            found.append(scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale))
            continue
        rest = span.length - span.prompt
        (q_prompt, q_rest), (k_prompt, _), (v_prompt, _) = (one.split([span.prompt, rest], dim=2) for one in (q, k, v))
        found.append(scaled_dot_product_attention(q_prompt, k_prompt, v_prompt, is_causal=True, scale=scale))
        found.append(scaled_dot_product_attention(q_rest, k, v, attn_mask=mask, scale=scale))
    return torch.cat(found, dim=2).transpose(1, 2)


def _by_varlen(
    layout: Layout, scale: float | None, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    how = layout.varlen
    query, key, value = (states.transpose(1, 2)[0] for states in (query, key, value))
    key, value = key[how.index], value[how.index]
    borders = how.queries, how.keys, how.longest_query, how.longest_key
    if layout.kernel == "flash_attn":
        from flash_attn import flash_attn_varlen_func

        out: torch.Tensor = flash_attn_varlen_func(query, key, value, *borders, softmax_scale=scale, causal=True)
        return out[None]
    from torch.nn.attention.varlen import varlen_attn

    is_grouped = query.shape[1] != key.shape[1]
    attended = varlen_attn(query, key, value, *borders, scale=scale, window_size=(-1, 0), enable_gqa=is_grouped)
    assert isinstance(attended, torch.Tensor)
    return attended[None]
