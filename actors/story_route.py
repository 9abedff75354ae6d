"""`POST /v1/interleave`: a story as server-sent events, each step as soon as it is done.

    request   {"prompt": "...", "images": ["<base64 of a PNG, JPEG or WebP>"], "seed": 0, "tries": 5}
    events    plan   {"plan": {...}}
              step   one step with its tries; the image shown is a base64 PNG, others are references
              story  everything, images by reference; `status` says how it went. Always the last event.

`interleave serve` offers it for a recipe of stories; mount it into any Starlette or FastAPI application:
`routes=[story_route(teller)]`. A client that goes away cancels its story.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from actors.service_http import Handler
from actors.teller import Teller
from rollout.story import Planned, StepTold, StoryEvent, StoryTold
from rollout.story_json import plan_as_json, step_as_json, story_as_json
from rollout.texts import is_unicode
from rollout.types import ImageRef

PATH = "/v1/interleave"
MAX_BODY = 64 * 2**20
"""Bytes of a request."""
MAX_PIXELS = 2**25
"""Of one input image."""
MAX_IMAGES = 16
MAX_PROMPT = 32_768
"""Characters."""
MAX_TRIES = 16
MAX_STORIES = 64
"""Told at a time; the next request is told to come back later (429)."""
RETRY_AFTER_S = 10
_FIELDS = {"prompt", "images", "seed", "tries"}
_FORMATS = ("PNG", "JPEG", "WEBP")


class _BadRequest(Exception):
    def __init__(self, message: str, status: int = 400):
        super().__init__(message)
        self.status = status


def story_route(
    teller: Teller, path: str = PATH, guard: Callable[[Handler], Handler] = lambda handler: handler
) -> Route:
    """Return the route that tells stories with `teller`, to those whom `guard` lets through."""
    num_told = 0

    async def interleave(request: Request) -> Response:
        if num_told >= MAX_STORIES:
            message = f"{num_told} stories are being told already; come back later"
            return JSONResponse({"error": {"message": message}}, 429, {"Retry-After": str(RETRY_AFTER_S)})
        try:
            body = _read(await _body(request))
            images = await asyncio.to_thread(lambda: [_image(text, at) for at, text in enumerate(body["images"])])
        except _BadRequest as error:
            return JSONResponse({"error": {"message": str(error)}}, status_code=error.status)
        events = teller.events(body["prompt"], images, seed=body["seed"], tries=body["tries"])
        return StreamingResponse(counted(_stream(teller, events)), media_type="text/event-stream")

    async def counted(told: AsyncIterator[str]) -> AsyncIterator[str]:
        nonlocal num_told
        num_told += 1
        try:
            async for event in told:
                yield event
        finally:
            num_told -= 1

    return Route(path, guard(interleave), methods=["POST"])


async def _stream(teller: Teller, events: AsyncIterator[StoryEvent]) -> AsyncIterator[str]:
    async for event in events:
        if isinstance(event, Planned):
            yield _event("plan", {"plan": plan_as_json(event.story)})
        elif isinstance(event, StepTold):
            yield _event("step", await asyncio.to_thread(_step, teller, event))
        elif isinstance(event, StoryTold):
            yield _event("story", story_as_json(event.story, lambda ref: ref))


def _step(teller: Teller, event: StepTold) -> dict[str, Any]:
    """Return a step whose shown image is there itself."""
    data = step_as_json(event.step, lambda ref: ref)
    if event.step.image is not None:
        data["image"] = _base64(teller, event.step.image)
        data["image_ref"] = event.step.image
    return data


def _base64(teller: Teller, ref: ImageRef) -> str:
    return base64.b64encode(teller.store.png_bytes(ref)).decode()


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def _body(request: Request) -> bytes:
    """Return the body, as far as it is within the limit: a larger one is not read to its end."""
    told = request.headers.get("content-length", "")
    data = bytearray()
    if not told.isdigit() or int(told) <= MAX_BODY:
        async for chunk in request.stream():
            data += chunk
            if len(data) > MAX_BODY:
                break
        else:
            return bytes(data)
    raise _BadRequest(f"the body is larger than {MAX_BODY:,} bytes", 413)


def _read(data: bytes) -> dict[str, Any]:
    """Return prompt, images, seed and tries."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise _BadRequest('the body is not JSON; expected {"prompt": "..."}') from None
    if not isinstance(body, dict):
        raise _BadRequest(f"the body is a {type(body).__name__}, expected an object with a prompt")
    if unknown := sorted(set(body) - _FIELDS):
        raise _BadRequest(f"unknown fields {unknown[:5]}; known are {sorted(_FIELDS)}")
    prompt, images = body.get("prompt"), body.get("images") or []
    if not isinstance(prompt, str) or not prompt.strip():
        raise _BadRequest("prompt is empty or no text; say what the story is about")
    if len(prompt) > MAX_PROMPT:
        raise _BadRequest(f"prompt has {len(prompt):,} characters, at most {MAX_PROMPT:,} are read", 413)
    if not is_unicode(prompt):
        raise _BadRequest("prompt holds half a character (a lone surrogate), which no model reads")
    if not isinstance(images, list) or len(images) > MAX_IMAGES:
        raise _BadRequest(f"images: expected a list of at most {MAX_IMAGES} images as base64")
    numbers = {name: body.get(name, 0) for name in ("seed", "tries")}
    for name, number in numbers.items():
        if type(number) is not int or number < 0:
            raise _BadRequest(f"{name} is {str(number)[:40]!r}, expected an integer of 0 or more")
    if numbers["tries"] > MAX_TRIES:
        raise _BadRequest(f"tries is {numbers['tries']}, at most {MAX_TRIES} are made")
    return {"prompt": prompt, "images": images, **numbers}


def _image(text: Any, at: int) -> Image.Image:
    """Return an input image; nothing but the bytes themselves is taken, no path and no address."""
    if not isinstance(text, str):
        raise _BadRequest(f"images[{at}] is a {type(text).__name__}, expected base64 of an image")
    try:
        data = base64.b64decode(text.partition(";base64,")[2] if text.startswith("data:") else text, validate=True)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _BadRequest(f"images[{at}] has {image.width:,} x {image.height:,} pixels, too many", 413)
            return image.convert("RGB")
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        raise _BadRequest(f"images[{at}] is no PNG, JPEG or WebP as base64") from None
