"""A policy without a model, for publishes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import torch

from actors.weights.send import Sender
from actors.weights.wire import BaseTensor, Manifest, Order, Shapes
from rollout.types import TrainingRow
from tests.support.policy_in_plain_torch import load_weights


class TensorSource:
    """A policy that is nothing but tensors, which change at random."""

    def __init__(self, model: Path):
        self.version = 0
        self.weights = {name: tensor.clone() for name, tensor in load_weights(model).items()}
        self._dice = torch.Generator().manual_seed(0)
        self._sender = Sender()

    def change(self, how: str) -> None:
        self.version += 1
        for name, tensor in self.weights.items():
            if how == "all" or (how == "tower" and "visual" in name) or (how == "some" and self._draw(3) == 0):
                tensor += torch.randn(tensor.shape, generator=self._dice) * 1e-3
            elif how == "few values":
                tensor.view(-1)[self._draw(tensor.numel()) :: 101] *= -1

    def choose(self, options: Sequence[str]) -> str:
        return options[self._draw(len(options))]

    def _draw(self, size: int) -> int:
        return int(torch.randint(size, (1,), generator=self._dice))

    async def tensor_shapes(self, *, as_adapters: bool = False) -> Shapes:
        return {name: tuple(tensor.shape) for name, tensor in self.weights.items()}

    async def base_tensors(self, order: Order) -> dict[str, BaseTensor]:
        return {}

    async def push_weights(self, receivers: Sequence[object], order: Order) -> Manifest:
        return await asyncio.to_thread(self._sender.send, self.weights.items(), receivers, order)

    async def logprobs(self, rows: Sequence[TrainingRow], temperature: float | None = None) -> list[list[float]]:
        """Agree: what is held is compared to the bit, which a probe cannot."""
        return [row.rollout_logprobs.tolist() for row in rows]
