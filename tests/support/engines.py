"""Three samplers of the shapes world, of two versions of the weights, for the slow tests of what an engine does."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from actors.cluster import ray_cluster
from actors.config import SamplerConfig
from actors.sampler.engine import Engine
from actors.sampler.sampler import Samplers
from actors.store.store import Store
from benchmarks.sleep_cycles import CRITIC, other_weights


class OpenEngine(Engine):
    """Lets tests look inside."""

    async def drop_what_weights_computed(self, version: int) -> int:
        """Do what a publish does, without the weights; return the number of steps in flight before the load."""
        await asyncio.wrap_future(self._loop.pause())
        in_flight = self._loop.run(lambda engine: len(engine.engine_core.engine_core.batch_queue or ()))
        await asyncio.wrap_future(self._loop.run(self.reset_caches))
        await asyncio.wrap_future(self._loop.resume(version))
        return await asyncio.wrap_future(in_flight)

    async def image_hits(self) -> int:
        """Return how often a processed image was found again."""
        cache = await asyncio.wrap_future(self._loop.run(lambda engine: engine.renderer.mm_processor_cache))
        return cache.make_stats().hits

    async def num_begun(self) -> int:
        """Return how many requests under way have a token."""
        drawn = await asyncio.wrap_future(self._loop.run(lambda engine: engine.num_drawn()))
        return sum(map(bool, drawn.values()))

    async def queue_steps(self) -> None:
        """Keep a step in flight, as vLLM does with asynchronous scheduling, which it refuses on CPUs."""

        def queue(engine) -> None:
            core = engine.engine_core.engine_core
            core.batch_queue, core.batch_queue_size = deque(maxlen=2), 2
            core.step_fn = core.step_with_batch_queue

        await asyncio.wrap_future(self._loop.run(queue))

    async def fill_cache(self) -> int:
        """Write to every page of the key-value cache; return its bytes."""

        def fill(engine) -> int:
            caches = engine.model_executor.driver_worker.model_runner.kv_caches
            for cache in caches:
                cache.fill_(0.5)
            return sum(cache.untyped_storage().nbytes() for cache in caches)

        return await asyncio.wrap_future(self._loop.run(fill))

    async def resident(self) -> int:
        """Return the bytes of memory that the process has."""
        return psutil.Process().memory_info().rss

    async def num_unfinished(self) -> int:
        return await asyncio.wrap_future(self._loop.run(lambda engine: engine.get_num_unfinished_requests()))

    async def step_slowly(self, wait_s: float) -> None:
        """Wait before each step, so that requests still run when a busy machine gets to what is to happen meanwhile."""

        def slow(engine) -> None:
            step = type(engine).step
            engine.step = lambda: (time.sleep(wait_s), step(engine))[1]

        await asyncio.wrap_future(self._loop.run(slow))


@dataclass
class Engines:
    """The started samplers, of one engine each, and what they were started from."""

    runner: asyncio.Runner
    store: Store
    models: list[Path]
    """Two versions of the weights."""
    sleeper: Samplers
    """Of the first version, with a large key-value cache."""
    fresh: list[Samplers]
    """One for each version; what has begun when a publish comes is finished first by one, drawn again by the other."""


@contextmanager
def started_engines(folder: Path) -> Iterator[Engines]:
    """Start all at once, since each spends most of its start on imports; stop them on exit."""
    store, models = Store(folder / "store"), [CRITIC, other_weights(CRITIC, folder / "other")]
    small, large = (SamplerConfig(max_model_len=512, kv_cache_gib=size) for size in (0.25, 1.0))
    waits, aborts = (replace(small, in_flight=mode) for mode in ("wait", "abort"))

    async def start() -> list[Samplers]:
        settings = [(large, models[0]), (waits, models[0]), (aborts, models[1])]
        return await asyncio.gather(
            *[
                Samplers.start(config, str(model), store_root=store.root, engine_class=OpenEngine)
                for config, model in settings
            ]
        )

    with asyncio.Runner() as runner:
        cluster = ray_cluster("", 4)
        runner.run(cluster.__aenter__())
        try:
            sleeper, *fresh = runner.run(start())
            yield Engines(runner, store, models, sleeper, fresh)
        finally:
            runner.run(cluster.__aexit__(None, None, None))
