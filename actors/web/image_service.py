"""The image service behind the routes: admits requests, generates their images and keeps statistics."""

import asyncio
import math
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import quantiles

from actors.generator.generator import Generator
from actors.metered.retry import CallError
from actors.store.store import Store
from actors.store.untrusted_images import BadImage
from actors.web.config import ServiceConfig
from actors.web.http_input import RequestRefused
from actors.web.image_decoder import Decoded, shared_decoder
from actors.web.image_request import ImageRequest
from actors.web.sizes import fitted, scaled
from rollout.concurrency import all_of
from rollout.roles import BudgetSpent, GeneratorError, Unsupported
from rollout.text.marks import without_objects
from rollout.types import EditRequest

FINAL = {"x-should-retry": "false"}
"""Tells clients, the `openai` package's among them, that asking again is no better: it may be paid for each time."""
NUM_LATENCIES = 1000
PLACEHOLDER = "an image"
"""Stands for an image while a request is only being checked."""


@dataclass(frozen=True)
class ImageResult:
    """The images made for a request."""

    id: str
    image_request: ImageRequest
    pngs: tuple[bytes, ...]
    """One for each seed."""
    seconds: float


class ImageService:
    """Passes image requests to the generator, up to `max_pending` images at a time."""

    def __init__(self, generator: Generator, config: ServiceConfig):
        self.generator = generator
        self.config = config
        self.counts: Counter[str] = Counter()
        self.num_pending = 0
        self._store = Store(generator.store_root)
        self._latencies: deque[float] = deque(maxlen=NUM_LATENCIES)
        self._answered_at: deque[float] = deque(maxlen=64)

    @contextmanager
    def admission_slot(self, count: int = 1) -> Iterator[None]:
        """Hold slots for `count` images. Raises `RequestRefused` (429) if there are not that many."""
        if self.num_pending + count > self.config.max_pending:
            self.counts["full"] += 1
            raise RequestRefused(
                429,
                f"{self.num_pending} images are pending already; come back later",
                {"Retry-After": str(self.retry_after_s())},
            )
        self.num_pending += count
        try:
            yield
        finally:
            self.num_pending -= count

    def retry_after_s(self) -> int:
        """Return in how many seconds a slot is likely to be free: about the time of a few answers."""
        if len(self._answered_at) < 2:
            return 1
        per_answer = (time.monotonic() - self._answered_at[0]) / len(self._answered_at)
        return min(60, max(1, math.ceil(4 * per_answer)))

    async def make(self, image_request: ImageRequest) -> ImageResult:
        """Return the requested images. Raises `RequestRefused`; an unsupported request costs nothing."""
        began = time.monotonic()
        try:
            made_as, scaled_to = fitted(image_request, self.config, self._check)
            with self.admission_slot(len(image_request.seeds) - 1):
                async with asyncio.timeout(self.config.timeout_s):
                    pngs = await self._make(made_as)
                    if scaled_to is not None:
                        pngs = [await asyncio.to_thread(scaled, png, scaled_to) for png in pngs]
        except Unsupported as error:
            raise RequestRefused(400, without_objects(str(error)).removeprefix("unsupported: ")) from error
        except BudgetSpent as error:
            raise RequestRefused(503, without_objects(str(error)), FINAL) from error
        except GeneratorError as error:
            self.counts["failed"] += 1
            status = 504 if str(error).startswith("timeout") else 502
            is_final = isinstance(error.__cause__, CallError) and not error.__cause__.fault.is_retryable
            why = f"the image was not made: {without_objects(str(error))[:500]}"
            raise RequestRefused(status, why, FINAL if is_final else None) from error
        except TimeoutError:
            self.counts["late"] += 1
            raise RequestRefused(504, f"the image was not made within {self.config.timeout_s:g} s") from None
        seconds = time.monotonic() - began
        self.counts["answered"] += 1
        self._latencies.append(seconds)
        self._answered_at.append(time.monotonic())
        return ImageResult(uuid.uuid4().hex, image_request, tuple(pngs), seconds)

    def _check(self, image_request: ImageRequest) -> None:
        names = [PLACEHOLDER] * len(image_request.images)
        self.generator.check(
            _request(image_request, image_request.seeds[0], names, PLACEHOLDER if image_request.mask else None)
        )

    async def _make(self, image_request: ImageRequest) -> list[bytes]:
        num = len(image_request.images)
        names = [f"image {place} of {num}" if num > 1 else "" for place in range(1, num + 1)]
        images = [await self._decoded(data, name) for data, name in zip(image_request.images, names, strict=True)]
        mask = None if image_request.mask is None else await self._decoded(image_request.mask, "mask", is_mask=True)
        self.generator.spec.check_images(image.size for image in images)
        refs = [await asyncio.to_thread(self._store.put_png, image.png) for image in images]
        mask_name = None if mask is None else await asyncio.to_thread(self._store.put_png, mask.png)
        made = await all_of(
            self.generator.edit(_request(image_request, seed, refs, mask_name)) for seed in image_request.seeds
        )
        return [await asyncio.to_thread(self._store.png_bytes, ref) for ref in made]

    async def _decoded(self, data: bytes, name: str, *, is_mask: bool = False) -> Decoded:
        try:
            return await shared_decoder().decode(data, self.config.max_pixels, is_mask=is_mask)
        except BadImage as error:
            raise RequestRefused(400, f"{name}: {error}" if name else str(error)) from None

    async def status(self) -> dict[str, object]:
        """Return the current state: the public system's fields, then our own."""
        num_replicas = await self.generator.num_running()
        stats = await self.generator.stats()
        spec, config = self.generator.spec, self.generator.config
        latency: dict[str, float] = {}
        if len(self._latencies) > 1:
            cuts = quantiles(self._latencies, n=100, method="inclusive")
            latency = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}
        return {
            "active_workers": num_replicas,
            "task_queue_size": self.num_pending,
            "result_queue_size": 0,
            "pending_tasks": self.num_pending,
            "total_gpus": int(config.gpus_of_each * num_replicas),
            "system_ready": num_replicas > 0,
            "max_pending": self.config.max_pending,
            "latency_s": latency,
            "requests": dict(self.counts),
            "model": self.generator.model,
            "generator": {
                "name": spec.name,
                "settings": self.generator.settings_digest(),
                "modes": [mode.value for mode in spec.modes],
                "options": sorted(spec.options),
                "max_images": spec.max_images,
                "sizes": self._sizes(),
            },
            "stats": stats,
        }

    def _sizes(self) -> dict[str, object]:
        sizes, config = dict(vars(self.generator.spec.sizes)), self.generator.config
        if config.height:
            sizes["choices"] = ((config.width, config.height),)
        return sizes


def _request(image_request: ImageRequest, seed: int, names: list[str], mask: str | None) -> EditRequest:
    return EditRequest(
        image=names[0] if names else None,
        prompt=image_request.prompt,
        seed=seed,
        references=tuple(names[1:]),
        mask=mask,
        size=image_request.size,
        options=image_request.options,
    )
