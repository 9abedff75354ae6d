"""Removes banned tokens from the policy's distribution, as the sampler does."""

import contextlib
from collections.abc import Iterator

import torch

from actors.banned_tokens import BANNED_LOGIT


class BannedTokenMask:
    """Removes banned tokens from a model's distribution; lifted for SFT.

    A hook of the output layer. SFT targets contain none of these tokens, so its loss is the plain cross-entropy.
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
