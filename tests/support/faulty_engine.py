"""A sampler's actor with a switch for the faults that a publish has to notice."""

import asyncio
from collections.abc import Mapping
from typing import Any

from actors.sampler.engine import Engine


class FaultyEngine(Engine):
    """Healthy until `set_fault` says otherwise: "stale_encoder", "unused_adapter", what `FaultyWorker` knows, or ""."""

    cpu_worker = "tests.support.faulty_worker.FaultyWorker"
    _fault = ""

    async def set_fault(self, fault: str) -> None:
        await self._on_workers("set_fault", fault)
        self._fault = fault
        if self._config.adapter_rank:
            await self._on_engine(lambda engine: _use_adapter(engine, fault != "unused_adapter"))

    async def differing(self, weights: Mapping[str, Any]) -> list[str]:
        return [name for names in await self._on_workers("differing", weights) for name in names]

    async def num_unfinished(self) -> int:
        return await asyncio.wrap_future(self._loop.run(lambda engine: engine.get_num_unfinished_requests()))

    def reset_caches(self, engine: Any) -> None:
        """Forget keys and values, but go on with image features of the old weights."""
        if self._fault == "stale_encoder":
            engine.reset_prefix_cache(reset_running_requests=True)
        else:
            super().reset_caches(engine)


def _use_adapter(engine: Any, is_used: bool) -> None:
    """Answer requests through the adapter that the engine holds, or as if it held none."""
    from actors.sampler import adapter

    engine.adapter = adapter.REQUEST if is_used else None
