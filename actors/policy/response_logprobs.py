"""Log-probabilities and entropies of response tokens alone, a block of them at a time, of which no logits are kept."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint
from verl.utils.ulysses import get_ulysses_sequence_parallel_rank

from actors.policy.sequence_parallel import gathered

Head = Callable[[torch.Tensor], torch.Tensor]

_BLOCK = 1024
"""Tokens at a time: of a vocabulary of 152,000 their float32 logits take 0.6 GB."""


@dataclass(frozen=True)
class Targets:
    """What is asked of the output layer: `labels` (tokens,) at the packed places `places` (tokens,)."""

    places: torch.Tensor
    labels: torch.Tensor
    temperature: float
    has_entropy: bool
    num_parts: int = 1
    """Ranks that share the sequence."""

    def ask(self, head: Head, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return `log_probs`, and `entropy` where wanted, each (tokens,): of `hidden` (all packed places, width).

        A block's logits are computed again in the backward pass rather than kept for it.
        """
        if self.num_parts > 1:
            return self._ask_parts(head, hidden)
        return self._ask(head, hidden[self.places], self.labels)

    def _ask_parts(self, head: Head, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
        """Ask each rank that shares the sequence for what its part predicts; `hidden` is this rank's part."""
        first = get_ulysses_sequence_parallel_rank() * len(hidden)
        parts = self.places // len(hidden)
        places = [torch.nonzero(parts == rank).squeeze(-1) for rank in range(self.num_parts)]
        own = places[get_ulysses_sequence_parallel_rank()]
        found = self._ask(head, hidden[self.places[own] - first], self.labels[own])
        return {name: gathered(values, places) for name, values in found.items()}

    def _ask(self, head: Head, hidden: torch.Tensor, labels_of_all: torch.Tensor) -> dict[str, torch.Tensor]:
        found = []
        for states, labels in zip(hidden.split(_BLOCK), labels_of_all.split(_BLOCK), strict=True):
            if torch.is_grad_enabled():
                found.append(checkpoint(self._block, head, states, labels, use_reentrant=False))
            else:
                found.append(self._block(head, states, labels))
        names = ("log_probs", "entropy")[: len(found[0])]
        return {name: torch.cat(blocks) for name, blocks in zip(names, zip(*found, strict=True), strict=True)}

    def _block(self, head: Head, states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # In bfloat16 the difference of two rounded numbers is too coarse.
        logits = head(states).float()
        if self.temperature != 1:
            logits = logits / self.temperature
        total = logits.logsumexp(-1)
        log_probs = logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1) - total
        if not self.has_entropy:
            return (log_probs,)
        return log_probs, total - ((logits - total.unsqueeze(-1)).exp() * logits).sum(-1)
