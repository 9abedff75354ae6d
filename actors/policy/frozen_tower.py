"""A frozen vision tower sees each image once a step, however many passes the step takes over its rows.

Log-probabilities before the update, those of the reference, several epochs: what a frozen tower makes of a micro-batch
is the same in each, for the reference's tower too, which has the same weights.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


class FrozenTower:
    """Remembers features by micro-batch. All ranks have the same ones: FSDP would hang if some of them computed."""

    def __init__(self) -> None:
        self._features: dict[tuple[int, int], object] = {}
        self._is_remembering = False
        self.micro_batch = (0, 0)
        """What is computed next: the mini-batch's number in the step, and the micro-batch's in that."""

    def attach(self, tower: torch.nn.Module) -> None:
        """Let a tower look up what it has to compute."""
        forward: Callable[..., object] = tower.forward

        def look_up(*args: object, **kwargs: object) -> object:
            if not self._is_remembering:
                return forward(*args, **kwargs)
            if self.micro_batch not in self._features:
                self._features[self.micro_batch] = forward(*args, **kwargs)
            return self._features[self.micro_batch]

        tower.forward = look_up

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Remember during a step."""
        self._is_remembering = True
        try:
            yield
        finally:
            self._is_remembering = False
            self._features.clear()
