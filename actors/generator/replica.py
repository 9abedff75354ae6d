"""A replica of the generators' pool: one loaded pipeline, its queue, and its health."""

import asyncio
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

from PIL import Image

from actors.generator.batcher import Batcher
from actors.generator.config import DEFAULT_BATCH_SIZE, GeneratorConfig
from actors.generator.image_sizes import Size
from actors.generator.kind import check_request
from actors.generator.pipeline import Pipeline
from actors.generator.registry import GeneratorSpec
from actors.metered.retry import Fault
from actors.store.store import NO_IMAGE, Store
from rollout.roles import Unsupported
from rollout.text.foreign import error_text
from rollout.types import EditRequest

NUM_DECODED = 64
"""Images that a replica keeps decoded."""
MAX_BAD_BATCHES = 3
"""Failed batches in a row after which a replica calls itself sick and is replaced."""


class GeneratorReplica:
    """One loaded pipeline. Constructed means that it has made an image; only then does Serve send requests."""

    def __init__(self, config: GeneratorConfig, store_root: str):
        self._config = config
        self._store = Store(store_root)
        self._decoded = lru_cache(maxsize=NUM_DECODED)(self._store.get_image)
        size = config.max_batch_size or DEFAULT_BATCH_SIZE
        self._batcher = Batcher(self._run, max_batch_size=size, wait_s=config.batch_wait_s)
        self._num_bad = 0
        self._pipeline = self._load()
        self._pipeline.warm_up()
        self._told: Counter[str] = self._pipeline.counts()

    def _load(self) -> Any:
        return Pipeline(self._config)

    async def __call__(self, request: EditRequest) -> dict[str, object] | Fault:
        """Make and commit one image: its reference under `image`, and what it took."""
        try:
            check_request(self._pipeline.spec, self._config, request)
            limit = await asyncio.to_thread(self._batch_limit, request) if self._config.max_batch_pixels else None
            done = await self._batcher.submit(kind_of(request), request, limit)
            # In a thread of its own: encoding and syncing a large PNG must not hold up the next batch.
            image = await asyncio.to_thread(self._store.put_image, done.result)
        except Unsupported as error:
            return Fault("unsupported", error_text(error).removeprefix("unsupported: "), is_retryable=False)
        except NO_IMAGE as error:
            return Fault("no_image", error_text(error), is_retryable=False)
        except Exception as error:
            return Fault(type(error).__name__, _line(error))
        took = {"queue_seconds": done.queue_s, "run_seconds": done.run_s / done.batch_size}
        return {"image": image, **took, "batch_size": done.batch_size, **self._counts_since()}

    async def describe(self) -> tuple[str, GeneratorSpec]:
        """Return the digest of the loaded model, and what it can do."""
        return self._pipeline.model, self._pipeline.spec

    def check_health(self) -> None:
        """Raise when no image was made of late (a replica that made none at all was never constructed)."""
        if self._num_bad >= MAX_BAD_BATCHES:
            raise RuntimeError(f"the last {self._num_bad} batches of the generator failed")

    def _counts_since(self) -> Counter[str]:
        """Return what was counted since an answer told it last: sums over answers are right, whichever tells it."""
        told, self._told = self._told, self._pipeline.counts()
        return self._told - told

    def _batch_limit(self, request: EditRequest) -> int:
        """Return how many images of a request's size may be made at once: one at least."""
        first = next((ref for ref in (request.image, *request.references) if ref is not None), None)
        size: Size = self._pipeline.size_of([] if first is None else [self._decoded(first)], request)
        return max(1, self._config.max_batch_pixels // (size[0] * size[1]))

    def _run(self, requests: Sequence[EditRequest]) -> list[Image.Image | Exception]:
        """Make the images of requests of one kind, each request once."""
        first = requests[0]
        images = [self._decoded(ref) for ref in (first.image, *first.references) if ref is not None]
        mask = None if first.mask is None else self._decoded(first.mask)
        unique = list(dict.fromkeys(requests))
        made: Sequence[Image.Image | Exception]
        try:
            made = self._pipeline.draw(images, mask, unique)
        except Exception as error:
            is_alone = len(unique) == 1
            made = [self._as_told(error)] if is_alone else [self._draw_alone(images, mask, one) for one in unique]
        self._note_health(made)
        by_request = dict(zip(unique, made, strict=True))
        return [by_request[request] for request in requests]

    def _draw_alone(
        self, images: Sequence[Image.Image], mask: Image.Image | None, request: EditRequest
    ) -> Image.Image | Exception:
        # One request must not take its batch along (a prompt that breaks the tokenizer, too little memory).
        try:
            made: list[Image.Image] = self._pipeline.draw(images, mask, [request])
            return made[0]
        except Exception as error:
            return self._as_told(error)

    def _as_told(self, error: Exception) -> Exception:
        """Return what an error of one request means: pipelines refuse what they cannot draw by ValueError or TypeError.

        They made an image when they were loaded, so that it is the request's fault, and again would be no better.
        """
        if not isinstance(error, (ValueError, TypeError)):
            return error
        return Unsupported(f"unsupported: {self._pipeline.spec.name} refuses the request: {_line(error)}")

    def _note_health(self, made: Sequence[Image.Image | Exception]) -> None:
        # Refused requests, however many, say nothing about the replica's health.
        results = [result for result in made if not isinstance(result, Unsupported)]
        if results:
            is_bad = all(isinstance(result, Exception) for result in results)
            self._num_bad = self._num_bad + 1 if is_bad else 0


def _line(error: Exception) -> str:
    return " ".join(error_text(error).split())[:500]


def kind_of(request: EditRequest) -> Hashable:
    """Return what requests must have in common to share a batch: all but prompt and seed."""
    return request.image, request.references, request.mask, request.size, request.options
