"""`POST /v1/interleave`: a story as server-sent events, each step as soon as it is done.

    request   {"prompt": "...", "images": ["<base64 of a PNG, JPEG or WebP>"], "seed": 0, "tries": 5}
    events    plan   {"plan": {...}}
              step   one step with its tries; the image shown is a base64 PNG, others are references
              story  everything, images by reference; `status` says how it went. Always the last event.

`interleave serve` offers it for a recipe with stories; to mount it into any Starlette or FastAPI application:
`routes=[story_route(storyteller)]`. A client that disconnects cancels its story; a stopping service ends it with the
status `telling`. Images are read as `/edit` reads them.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from actors.generator.generator import Generator
from actors.store.untrusted_images import BadImage
from actors.storyteller import Storyteller
from actors.web.config import ServiceConfig
from actors.web.fields import STORY
from actors.web.http_input import Handler, RequestRefused, read_json, while_connected
from actors.web.image_decoder import Decoded, shared_decoder
from actors.web.image_request import decode, text_of
from actors.web.service import STOPPED, openai_error, with_error_responses
from actors.web.stopping import ServiceStopping, items_unless_stopping
from rollout.roles import Unsupported
from rollout.story import Planned, StepTold, Story, StoryStatus, StoryTold
from rollout.story_json import plan_as_json, step_as_json, story_as_json
from rollout.types import ImageRef
from rollout.types import Request as StoryRequest

PATH = "/v1/interleave"
MAX_IMAGES = 16
LARGE_IMAGES = 2
"""A request's images together may have as many pixels as this many images of the largest size."""
MAX_ASPECT = 200
"""Longer side over the shorter one; the limit of planner's and critic's processor (Qwen-VL)."""
MAX_TRIES = STORY.values["tries"]["maximum"]
MAX_STORIES = 64
"""Stories told at a time; the next request is told to come back later (429)."""
RETRY_AFTER_S = 10


def story_route(
    storyteller: Storyteller,
    path: str = PATH,
    guard: Callable[[Handler], Handler] = lambda handler: handler,
    config: ServiceConfig | None = None,
) -> Route:
    """Return the route that streams stories of `storyteller`, within the limits of `config`, behind `guard`."""
    limits = config or ServiceConfig()
    num_inside = 0

    @contextmanager
    def admission_slot() -> Iterator[None]:
        nonlocal num_inside
        if num_inside >= MAX_STORIES:
            message = f"{num_inside} stories are being told already; come back later"
            raise RequestRefused(429, message, {"Retry-After": str(RETRY_AFTER_S)})
        num_inside += 1
        try:
            yield
        finally:
            num_inside -= 1

    async def interleave(request: Request) -> Response:
        fields = await read_json(request, limits)  # a request takes no slot until it is read
        with ExitStack() as held:
            held.enter_context(admission_slot())
            asked = await _asked(storyteller, request, fields, limits)
            return _StoryEventStream(_stream(storyteller, asked, request.scope), held.pop_all())

    return Route(path, guard(with_error_responses(interleave, openai_error)), methods=["POST"])


class _StoryEventStream(StreamingResponse):
    """A story as it is told; its admission slot is released at the end, even if nothing could be sent."""

    def __init__(self, events: AsyncIterator[str], held: ExitStack):
        super().__init__(events, media_type="text/event-stream")
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


async def _stream(storyteller: Storyteller, asked: StoryRequest, scope: Scope) -> AsyncIterator[str]:
    story = Story(asked, StoryStatus.TELLING)
    try:
        async with aclosing(storyteller.storyline.events(asked)) as events:
            async for event in items_unless_stopping(scope, events):
                if isinstance(event, Planned):
                    yield _event("plan", {"plan": plan_as_json(event.story)})
                elif isinstance(event, StepTold):
                    yield _event("step", await asyncio.to_thread(_step, storyteller, event))
                if isinstance(event, Planned | StepTold | StoryTold):
                    story = event.story
    except ServiceStopping:
        story = replace(story, error=STOPPED)
    yield _event("story", story_as_json(story, lambda ref: ref))


def _step(storyteller: Storyteller, event: StepTold) -> dict[str, object]:
    """Return a step that contains its shown image itself."""
    data = step_as_json(event.step, lambda ref: ref)
    if event.step.image is not None:
        data["image"] = _base64(storyteller, event.step.image)
        data["image_ref"] = event.step.image
    return data


def _base64(storyteller: Storyteller, ref: ImageRef) -> str:
    return base64.b64encode(storyteller.store.png_bytes(ref)).decode()


def _event(name: str, data: dict[str, object]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def _asked(
    storyteller: Storyteller, request: Request, fields: dict[str, Any], config: ServiceConfig
) -> StoryRequest:
    """Return the parsed request; images are put in the store once all of it is read. Raises `RequestRefused`."""
    if unknown := sorted(name[:40] for name in set(fields) - set(STORY.values)):
        raise RequestRefused(400, f"unknown fields {unknown[:5]}; known are {sorted(STORY.values)}")
    prompt, sent = text_of(fields, "prompt", config), fields.get("images") or []
    if not prompt.strip():
        raise RequestRefused(400, "prompt is missing or empty; say what the story is about")
    if not isinstance(sent, list) or len(sent) > MAX_IMAGES:
        raise RequestRefused(400, f"images: expected a list of at most {MAX_IMAGES} images as base64")
    numbers = {name: fields.get(name, 0) for name in ("seed", "tries")}
    for name, number in numbers.items():
        if type(number) is not int or number < 0:
            raise RequestRefused(400, f"{name} is {str(number)[:40]!r}, expected an integer of 0 or more")
    if numbers["tries"] > MAX_TRIES:
        raise RequestRefused(400, f"tries is {str(numbers['tries'])[:40]}, expected at most {MAX_TRIES}")
    images = await while_connected(request, _images(storyteller, sent, config)) if sent else []
    refs = [await asyncio.to_thread(storyteller.store.put_png, image.png) for image in images]
    return StoryRequest(prompt, tuple(refs), **numbers).checked()


async def _images(storyteller: Storyteller, sent: Sequence[object], config: ServiceConfig) -> list[Decoded]:
    """Return input images, from their bytes only: paths and URLs are not accepted."""
    images: list[Decoded] = []
    max_pixels, num_pixels = LARGE_IMAGES * config.max_pixels, 0
    for at, text in enumerate(sent):
        name = f"images[{at}]"
        data = await asyncio.to_thread(decode, {name: text}, name)
        try:
            images.append(await shared_decoder().decode(data, config.max_pixels))
        except BadImage as error:
            raise RequestRefused(400, f"{name}: {error}") from None
        width, height = images[-1].size
        num_pixels += width * height
        if num_pixels > max_pixels:
            raise RequestRefused(400, f"{name}: the images have more than the {max_pixels:,} pixels allowed in total")
        _check_size(storyteller, name, images[-1])
    return images


def _check_size(storyteller: Storyteller, name: str, image: Decoded) -> None:
    """Raise `RequestRefused` for an image that planner, critic or generator does not take, before any is asked."""
    width, height = image.size
    if max(image.size) > MAX_ASPECT * min(image.size):
        raise RequestRefused(400, f"{name}: expected sides of a ratio up to {MAX_ASPECT}, found {width}x{height}")
    generator = storyteller.storyline.generator
    if isinstance(generator, Generator):
        try:
            generator.spec.check_images([image.size])
        except Unsupported as error:
            raise RequestRefused(400, f"{name}: {str(error).removeprefix('unsupported: ')}") from None
