"""A generator whose replica paints instead of running a pipeline."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any

from PIL import Image

from actors.config import GeneratorConfig
from actors.generator.generator import Generator, make_calls
from actors.generator.kind import resolve
from actors.generator.registry import REGISTRY
from actors.generator.replica import GeneratorReplica
from actors.metered.shared_calls import SharedCalls
from actors.pool import Pool
from rollout.types import EditRequest


class Canvas:
    """A pipeline without a model: the picture's colour tells image, prompt and seed."""

    model = "painter-1"

    def __init__(self, config, spec):
        self._size = (config.width or 8, config.height or 8)
        self.spec = spec
        self.batches = []

    def size_of(self, images, request):
        return request.size or self._size

    def counts(self):
        return Counter()

    def draw(self, images, mask, requests):
        self.batches.append([request.prompt for request in requests])
        if any(request.prompt == "bad" for request in requests):
            raise RuntimeError("CUDA out of memory")
        if any(request.prompt == "strange" for request in requests):
            raise ValueError("Image too small: 32x32")
        tint = images[0].getpixel((0, 0))[0] if images else 0
        return [Image.new("RGB", self._size, (tint, len(request.prompt), request.seed)) for request in requests]

    def warm_up(self):
        self.draw([], None, [EditRequest(None, "a red box", 0)])


class Painter(GeneratorReplica):
    spec = REGISTRY["flux2-klein"]

    def _load(self):
        return Canvas(self._config, self.spec)

    @property
    def batches(self):
        return self._pipeline.batches


def generator_settings(**changes):
    given: dict[str, Any] = {
        "model": "x",
        "num_replicas": 0,
        "height": 8,
        "width": 8,
        "num_attempts": 2,
        "max_batch_size": 4,
        "batch_wait_s": 0.05,
    }
    return GeneratorConfig(**given | changes)


def make_generator(tmp_path, replica=Painter, **changes):
    config, root = resolve(generator_settings(**changes)), str(tmp_path)
    pool = Pool(partial(replica, config, root))
    return Generator(
        config, root, SharedCalls(partial(make_calls, config, root, pool, None)), "painter-1", replica.spec
    )


def edit_all(generator, *requests):
    """Return the images of requests made at once (or their errors), the counts, and the replica."""

    async def scenario():
        refs = await asyncio.gather(*map(generator.edit, requests), return_exceptions=True)
        pool = generator.owner._make.args[2]
        return refs, await generator.stats(), await pool._replica()

    return asyncio.run(scenario())
