"""Ulysses sequence parallelism (arXiv 2309.14509): ranks share a sequence everywhere, and heads in its attention.

verl cuts what goes into the text layers (its slicing for vision-language models) and knows the ranks of a group; the
exchange around attention is here, over any back-end that has `all_to_all_single`: NCCL, and gloo on CPUs.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from verl.utils.ulysses import gather_outputs_and_unpad, get_ulysses_sequence_parallel_group

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def over_heads(attend: Attend, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return what `attend` makes of whole sequences, of this rank's part: (1, tokens of the part, heads, dim).

    Each of `query`, `key` and `value` is (1, its heads, tokens of the part, dim); `attend` sees all tokens of a share
    of the heads and returns (1, tokens, its heads, dim).
    """
    group = get_ulysses_sequence_parallel_group()
    if group is None or (size := dist.get_world_size(group)) == 1:
        return attend(query, key, value)
    # Fewer key heads than ranks: each is there for several ranks.
    repeats = max(1, size // key.shape[1])
    key, value = (states.repeat_interleave(repeats, dim=1) for states in (key, value))
    attended = attend(*(_heads_to_tokens(states, size, group) for states in (query, key, value)))
    _, tokens, heads, width = attended.shape
    parts = attended.reshape(size, tokens // size, heads, width)
    return _exchange(parts, group).transpose(0, 1).reshape(1, tokens // size, size * heads, width)


def gathered(values: torch.Tensor, places: list[torch.Tensor]) -> torch.Tensor:
    """Return one tensor of what each rank of a group found: rank r's `values` belong at `places[r]`, all ranks know.

    The gradient is verl's: that of this rank's part times the ranks, over which FSDP takes the mean.
    """
    longest = max(len(own) for own in places)
    padded = torch.nn.functional.pad(values, (0, longest - len(values)))
    rows = gather_outputs_and_unpad(padded, gather_dim=0).view(len(places), longest)
    found = torch.cat([row[: len(own)] for row, own in zip(rows, places, strict=True)])
    return found[torch.cat(places).argsort()]


def _heads_to_tokens(states: torch.Tensor, size: int, group: dist.ProcessGroup) -> torch.Tensor:
    """Return (1, heads / size, tokens, dim) of (1, heads, tokens / size, dim)."""
    _, heads, tokens, width = states.shape
    parts = _exchange(states.reshape(size, heads // size, tokens, width), group)
    return parts.transpose(0, 1).reshape(1, heads // size, size * tokens, width)


def _exchange(parts: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
    """Send part i to rank i of the group; return what came, in their order."""
    exchanged: torch.Tensor = _AllToAll.apply(parts.contiguous(), group)
    return exchanged


class _AllToAll(torch.autograd.Function):
    """Its own inverse, and so its own backward."""

    @staticmethod
    def forward(ctx: Any, parts: torch.Tensor, group: dist.ProcessGroup) -> torch.Tensor:
        ctx.group = group
        received = torch.empty_like(parts)
        dist.all_to_all_single(received, parts, group=group)
        return received

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        received = torch.empty_like(gradients[0], memory_format=torch.contiguous_format)
        dist.all_to_all_single(received, gradients[0].contiguous(), group=ctx.group)
        return received, None
