"""Banned tokens have no place in the policy's distribution, as they have none in the sampler's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from actors.banned_tokens import BANNED_LOGIT


class BannedTokenMask:
    """Takes banned tokens out of a model's distribution, as the sampler does; lifted for SFT.

    A hook of the output layer. What SFT teaches holds none of them, so its loss is the plain cross-entropy.
    """

    def __init__(self, tokens: list[int]):
        self._index = torch.tensor(tokens)
        self._is_lifted = False

    def __call__(self, _: torch.nn.Module, __: object, logits: torch.Tensor) -> torch.Tensor | None:
        if self._is_lifted:
            return None
        # In place: a copy of all logits would be the largest tensor of the forward pass.
        return logits.index_fill_(-1, self._index.to(logits.device), BANNED_LOGIT)

    @contextlib.contextmanager
    def lifted(self) -> Iterator[None]:
        self._is_lifted = True
        try:
            yield
        finally:
            self._is_lifted = False
