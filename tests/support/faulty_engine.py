"""A sampler's actor with a switch for the faults that a publish has to notice."""

import asyncio
import os
from typing import Any

from actors.sampler.engine import Engine
from actors.weights.wire import Bucket


class FaultyEngine(Engine):
    """Healthy until `set_fault` says otherwise: "skipped_bucket", "stale_head", "stale_encoder", "death" or ""."""

    _fault = ""

    async def set_fault(self, fault: str) -> None:
        await self._on_model(lambda model: _freeze_head(model.language_model.lm_head, fault == "stale_head"))
        self._fault = fault

    async def num_unfinished(self) -> int:
        return await asyncio.wrap_future(self._loop.run(lambda engine: engine.get_num_unfinished_requests()))

    async def load_bucket(self, bucket: Bucket) -> None:
        """Lose the first bucket of a publish."""
        if self._fault == "death":
            os._exit(1)
        if self._fault == "skipped_bucket":
            self._fault = ""
            return
        await super().load_bucket(bucket)

    def reset_caches(self, engine: Any) -> None:
        """Forget keys and values, but go on with image features of the old weights."""
        if self._fault == "stale_encoder":
            engine.reset_prefix_cache(reset_running_requests=True)
        else:
            super().reset_caches(engine)


def _freeze_head(head: Any, is_frozen: bool) -> None:
    """Multiply by a copy of today's head from now on, as vLLM does on CPU when it packs a tied head's weight."""
    import torch

    linear = torch.nn.functional.linear
    if is_frozen:
        stale = head.weight.detach().clone()
        head.cpu_linear = lambda hidden, weight, bias: linear(hidden, stale, bias)
    else:
        head.cpu_linear = linear
