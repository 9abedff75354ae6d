"""Image models behind HTTP: the OpenAI-compatible images and chat interfaces, and a service of our own.

As with judges, the owner itself sends the requests: limits and budget hold for the whole run, and every image
is paid for once.
"""

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from actors.generator.api_calls import ImageAnswer, Sent
from actors.generator.config import GeneratorConfig
from actors.generator.kind import kind_of, spec_of
from actors.generator.registry import GeneratorSpec
from actors.metered.config import EndpointConfig
from actors.metered.connections import Secret, connect, read_key
from actors.metered.endpoints import Endpoint, Endpoints, Slot, with_defaults
from actors.metered.http_faults import fault_at
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import CallError, Fault, RetryPolicy
from actors.metered.service import Count
from actors.metered.usage_ledger import Budget, UsageLedger
from actors.store.store import Store
from actors.store.untrusted_images import BadImage, UnacceptedImage, flatten, read_image
from rollout.types import EditRequest

MAX_PIXELS = 64 * 1024 * 1024
"""Of an image that an endpoint sends."""
MIN_SIDE = 8
"""Of the same: a smaller one is a placeholder, which would be judged as if it was the model's work."""


@runtime_checkable
class HttpKind(Protocol):
    """What the kinds of generator behind HTTP differ in (`actors.generator.kinds.http`)."""

    names_size: ClassVar[bool]
    """A request has to say which size it wants."""
    is_ours: ClassVar[bool]
    """A service of this project's: in the own network, perhaps without a key."""

    async def ask(self, endpoint: Endpoint, sent: Sent) -> ImageAnswer:
        """Send one edit."""
        ...


class ImageEndpoints(Endpoints):
    """Sends an edit to an endpoint; the image that comes back is in the store before it is an answer."""

    def __init__(self, config: GeneratorConfig, spec: GeneratorSpec, keys: Sequence[Secret], store_root: str):
        super().__init__(
            connect(settings, key, config.timeout_s) for settings, key in zip(endpoints_of(config), keys, strict=True)
        )
        self._config = config
        self._entry = spec
        self._kind = http_kind(config)
        self._store = Store(store_root)

    async def send(self, payload: EditRequest, place: Slot, count: Count) -> dict[str, object]:
        """Return the reference of the new image. Raises `CallError` with what went wrong."""
        is_sent = False
        try:
            sent = await asyncio.to_thread(self._sent, payload)
            is_sent = True
            answer = await self._kind.ask(place.endpoint, sent)
            self._settle(place, answer, count)
            if answer.image is None:
                raise CallError(Fault("unreadable", answer.complaint, is_retryable=not answer.is_permanent))
            image = await asyncio.to_thread(self._keep, answer.image, answer.complaint)
        except Exception as error:
            fault = fault_at(place.endpoint, error)
            # It may have been made and charged for; only the server knows.
            count("unbilled", fault.kind in ("timeout", "connection"))
            # Whatever the error itself says (the key, too) is told no further.
            raise CallError(fault) from None
        except asyncio.CancelledError:
            count("unbilled", is_sent)
            raise
        self.record_success(place)
        return {"image": image}

    def _sent(self, request: EditRequest) -> Sent:
        images = [self._store.png_bytes(ref) for ref in (request.image, *request.references) if ref is not None]
        mask = None if request.mask is None else self._store.get_image(request.mask)
        config, size = self._config, request.size
        if size is None and config.height:
            size = (config.width, config.height)
        if size is None and not self._entry.sizes.is_own and self._kind.names_size:
            before = None if request.image is None else self._store.get_image(request.image).size
            size = self._entry.sizes.fit(before)
        call = dict(config.call)
        if config.server.command:  # what OpenAI's interface lacks, servers of open models have
            call["extra_body"] = {"seed": request.seed, **call.get("extra_body", {})}
        return Sent(request, images, mask, size, call)

    def _keep(self, data: bytes, complaint: str) -> str:
        """Commit an image. Raises `CallError`; one of a format or size that is not accepted is not asked for again."""
        try:
            image = read_image(data, MAX_PIXELS)
        except BadImage as error:
            said = f"{error}; {complaint}" if complaint else str(error)
            may_pass = not isinstance(error, UnacceptedImage)
            raise CallError(Fault("unreadable", said, is_retryable=may_pass)) from error
        if min(image.size) < MIN_SIDE:
            said = f"the endpoint sent an image of {image.width}x{image.height} pixels, which stands for none"
            raise CallError(Fault("unreadable", said))
        return self._store.put_image(flatten(image))

    def _settle(self, place: Slot, answer: ImageAnswer, count: Count) -> None:
        """Put on the bill what the image costs, whatever it is worth."""
        prices = place.endpoint.config
        place.used = float(answer.tokens_in + answer.tokens_out)
        count("tokens_in", answer.tokens_in)
        count("tokens_out", answer.tokens_out)
        by_tokens = (
            answer.tokens_in * prices.usd_per_million_input_tokens
            + answer.tokens_out * prices.usd_per_million_output_tokens
        )
        count("usd", self._config.usd_per_image + by_tokens / 1e6)


def http_kind(config: GeneratorConfig) -> HttpKind:
    """Return the kind of a generator behind HTTP."""
    kind = kind_of(config)
    assert isinstance(kind, HttpKind)
    return kind


def endpoints_of(config: GeneratorConfig) -> list[EndpointConfig]:
    """Return a generator's endpoints, each with model and concurrency filled in."""
    only = EndpointConfig(config.base_url, config.api_key_env, has_proxy=not http_kind(config).is_ours)
    return with_defaults(config.endpoints or [only], model=config.model, max_concurrency=config.max_concurrency)


def read_api_keys(config: GeneratorConfig) -> list[Secret]:
    """Return the endpoints' keys from the environment. Raises ValueError; a service of our own may need none."""
    endpoints = endpoints_of(config)
    if http_kind(config).is_ours:
        return [read_key(one.api_key_env, "generator") if one.api_key_env else Secret("none") for one in endpoints]
    return [read_key(one.api_key_env or "OPENAI_API_KEY", "generator") for one in endpoints]


def make_api_calls(
    config: GeneratorConfig, keys: Sequence[Secret], store_root: str, ledger: str | None, is_continued: bool
) -> MeteredCalls:
    """Return the paid calls of a generator behind HTTP; an edit whose image is gone is made again."""
    store, spec = Store(store_root), spec_of(config)
    assert spec is not None
    return MeteredCalls(
        store,
        RetryPolicy(config.timeout_s, config.num_attempts),
        ImageEndpoints(config, spec, keys, store_root),
        UsageLedger(
            "generator", ledger, budget=Budget(config.budget_calls, config.budget_usd), is_continued=is_continued
        ),
        is_usable=lambda answer: store.has_image(answer["image"]),
    )
