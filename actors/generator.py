"""A frozen diffusers pipeline behind a pool of replicas, and the `Generator` that pays it once an edit."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from PIL import Image

from actors.batcher import Batcher
from actors.bill import Books
from actors.config import GeneratorConfig
from actors.model_digest import model_digest
from actors.owner import Owner
from actors.paid_call import PaidCalls
from actors.pool import Pool, deploy, pool_name, replica_options
from actors.retry import CallError, Fault, RetryPolicy
from actors.service import Pooled
from actors.store import Store
from rollout.concurrency import all_of
from rollout.roles import GeneratorError
from rollout.types import EditRequest, ImageRef

NUM_DECODED = 64
"""Before-images that a replica keeps decoded."""
MAX_BAD_BATCHES = 3
"""Failed batches in a row after which a replica calls itself sick and is replaced."""
BATCHES_QUEUED = 4
"""Full batches that a replica may hold: from a longer queue it can pick fuller batches of one image."""


class GeneratorReplica:
    """One loaded pipeline. Constructed means that it has made an image; only then does Serve send requests."""

    def __init__(self, config: GeneratorConfig, store_root: str):
        self._config = config
        self._store = Store(store_root)
        self._decoded = lru_cache(maxsize=NUM_DECODED)(self._store.get_image)
        self._batcher = Batcher(self._run, max_batch_size=config.max_batch_size, wait_s=config.batch_wait_s)
        self._num_bad = 0
        self._model, parameters = self._load()
        self._edits_images = "image" in parameters
        canvas = Image.new("RGB", (config.width, config.height), "white")
        self._draw(canvas if self._edits_images else None, [EditRequest(None, "a red box", 0)])

    def _load(self) -> tuple[str, frozenset[str]]:
        """Load the pipeline; return its model's digest and the names of its call's parameters."""
        import diffusers
        import torch

        config = self._config
        folder = _local_folder(config.model)
        pipeline = getattr(diffusers, config.pipeline).from_pretrained(folder, dtype=getattr(torch, config.dtype))
        self._pipeline = pipeline.to("cuda" if config.gpus_per_replica else "cpu")
        self._pipeline.set_progress_bar_config(disable=True)
        return model_digest(folder), frozenset(inspect.signature(pipeline.__call__).parameters)

    async def __call__(self, request: EditRequest) -> dict[str, Any] | Fault:
        """Make and commit one image: its reference under `image`, and what it took."""
        if request.image is not None and not self._edits_images:
            return Fault("unsupported", f"{self._config.pipeline} edits no images", is_retryable=False)
        try:
            done = await self._batcher.submit(request.image, request)
            # In a thread of its own: encoding and syncing a large PNG must not hold up the next batch.
            image = await asyncio.to_thread(self._store.put_image, done.result)
        except FileNotFoundError as error:
            return Fault("no_image", str(error), is_retryable=False)
        except Exception as error:
            return Fault(type(error).__name__, " ".join(str(error).split())[:500])
        took = {"queue_seconds": done.queue_s, "run_seconds": done.run_s / done.batch_size}
        return {"image": image, **took, "batch_size": done.batch_size}

    async def describe(self) -> str:
        """Return the digest of the loaded model."""
        return self._model

    def check_health(self) -> None:
        """Raise when no image was made of late (a replica that made none at all was never constructed)."""
        if self._num_bad >= MAX_BAD_BATCHES:
            raise RuntimeError(f"the last {self._num_bad} batches of the generator failed")

    def _run(self, requests: Sequence[EditRequest]) -> list[Image.Image | Exception]:
        """Make the images of requests that share a before-image, each request once."""
        before = requests[0].image
        image = None if before is None else self._decoded(before)
        unique = list(dict.fromkeys(requests))
        made: list[Image.Image | Exception]
        try:
            made = [*self._draw(image, unique)]
        except Exception as error:
            made = [error] if len(unique) == 1 else [self._draw_alone(image, request) for request in unique]
        is_bad = all(isinstance(result, Exception) for result in made)
        self._num_bad = self._num_bad + 1 if is_bad else 0
        by_request = dict(zip(unique, made, strict=True))
        return [by_request[request] for request in requests]

    def _draw_alone(self, image: Image.Image | None, request: EditRequest) -> Image.Image | Exception:
        # One request must not take its batch along (a prompt that breaks the tokenizer, too little memory).
        try:
            return self._draw(image, [request])[0]
        except Exception as error:
            return error

    def _draw(self, image: Image.Image | None, requests: Sequence[EditRequest]) -> list[Image.Image]:
        """Call the pipeline once; every request has its own noise, so its image does not depend on its batch."""
        import torch

        arguments: dict[str, Any] = {
            "prompt": [request.prompt for request in requests],
            "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            "height": self._config.height,
            "width": self._config.width,
            **self._config.call,
        }
        if image is not None:
            arguments["image"] = image
        images = self._pipeline(**arguments).images
        if len(images) != len(requests):
            raise RuntimeError(
                f"{self._config.pipeline} made {len(images)} images of {len(requests)} prompts: set max_batch_size=1"
            )
        return images


@dataclass
class Generator:
    """Satisfies `rollout.roles.Generator`. Picklable; one owner makes each edit once, whichever process asks."""

    config: GeneratorConfig
    store_root: str
    owner: Owner
    model: str
    """Digest of the loaded model: two models never share a cached image."""

    @classmethod
    async def start(
        cls,
        config: GeneratorConfig,
        store_root: Path | str,
        service: str = "generator",
        ledger_folder: Path | str | None = None,
    ) -> Generator:
        """Deploy the pool `service` and return its handle once every replica has made an image.

        The ledger, if there is one, gets a row for each edit.
        """
        root = str(Path(store_root).absolute())
        pool = await deploy(
            pool_name(service, root),
            partial(GeneratorReplica, config, root),
            num_replicas=config.num_replicas,
            max_ongoing=config.max_batch_size * BATCHES_QUEUED,
            actor_options=replica_options(config.cpus_per_replica, config.gpus_per_replica, config.num_threads),
        )
        ledger = None if ledger_folder is None else str(Path(ledger_folder).absolute())
        make = partial(make_calls, config, root, pool, ledger)
        owner, model = await all_of([Owner.start(make, is_local=config.num_replicas == 0), pool.describe()])
        return cls(config, root, owner, model)

    async def edit(self, request: EditRequest) -> ImageRef:
        """Return the new image, committed to the store. Raises `GeneratorError`."""
        try:
            answer = await self.owner.get(self._depends_on(request), request)
        except CallError as error:
            raise GeneratorError(str(error)) from error
        except FileNotFoundError as error:
            raise GeneratorError(f"no_image: {error}") from error
        return answer["image"]

    async def stats(self) -> dict[str, float]:
        """Return the owner's counts since the run's start, keyed `generator/...`; seconds are sums."""
        return await self.owner.stats()

    def _depends_on(self, request: EditRequest) -> dict[str, Any]:
        config = self.config
        return {
            "service": "generator",
            "pipeline": config.pipeline,
            "model": self.model,
            "dtype": config.dtype,
            "size": [config.height, config.width],
            "call": dict(config.call),
            "before": Store(self.store_root).digest(request.image),
            "prompt": request.prompt,
            "seed": request.seed,
        }


def make_calls(
    config: GeneratorConfig, store_root: str, pool: Pool, ledger_folder: str | None, is_continued: bool
) -> PaidCalls:
    """Return the paid calls of a generator; an edit whose image is gone is made again."""
    store = Store(store_root)
    return PaidCalls(
        store,
        RetryPolicy(config.timeout_s, config.num_attempts),
        Pooled(
            pool.call,
            max(1, config.num_replicas) * config.max_batch_size * BATCHES_QUEUED,
            counted=("queue_seconds", "run_seconds"),
        ),
        Books("generator", ledger_folder, is_continued=is_continued),
        is_usable=lambda answer: store.has_image(answer["image"]),
    )


def _local_folder(model: str) -> str:
    """Return the folder of a model, downloading a hub id once."""
    if Path(model).is_dir():
        return str(Path(model).absolute())
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.download(model)
