"""The pool behind HTTP: the public system's routes, OpenAI's images interface, and whatever routes are added.

The front runs in the driver's process, before the same `Generator` that training uses: replicas are wherever the
cluster has them, equal requests are made once, and a client that goes away takes its waiting request along.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from actors.paid.connections import Secret
from actors.web.bounds import Gone, Refused, admit, read_form, read_json, while_connected
from actors.web.desk import Desk, Made
from actors.web.wishes import Wish, wish_of_edit, wish_of_openai

Handler = Callable[[Request], Awaitable[Response]]
GONE = 499
"""What is logged for a client that did not wait; nobody sees it."""
_log = logging.getLogger(__name__)


def build_app(desk: Desk, key: Secret | None, more: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application. `more` routes are made with `guarded`, as those here are."""
    public = _public_routes(desk)
    openai = _openai_routes(desk)
    routes: list[BaseRoute] = [
        Route(path, guarded(handler, key, shape), methods=[method])
        for shape, group in ((public_error, public), (openai_error, openai))
        for method, path, handler in group
    ]
    return Starlette(routes=[*routes, *more])


def guarded(handler: Handler, key: Secret | None, shape: Callable[[int, str], Any]) -> Handler:
    """Return a handler that only those with the key reach, and whose refusals are told in a client's `shape`."""

    async def admitting(request: Request) -> Response:
        if request.scope["path"] != "/health":  # what was routed; the URL is made of what the client says of its host
            admit(request, key)
        return await handler(request)

    return answered(admitting, shape)


def answered(handler: Handler, shape: Callable[[int, str], Any]) -> Handler:
    """Return a handler whose refusals and failures are told in a client's `shape`."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as error:
            return JSONResponse(shape(error.status, error.message), error.status, headers=error.headers)
        except Gone:
            return Response(status_code=GONE)
        except Exception:
            _log.exception("%s %s failed", request.method, request.url.path)
            return JSONResponse(shape(500, "the service made a mistake; its log says which"), 500)

    return handle


def public_error(status: int, message: str) -> dict[str, Any]:
    return {"success": False, "error": message, "detail": message}


def openai_error(status: int, message: str) -> dict[str, Any]:
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


async def granted(desk: Desk, request: Request, read: Callable[[Request], Awaitable[Wish]]) -> Made:
    """Read a wish and carry it out, for as long as its client waits."""
    with desk.place():
        wish = await read(request)
        try:
            return await while_connected(request, desk.make(wish))
        except Gone:
            desk.counts["gone"] += 1
            raise


def _public_routes(desk: Desk) -> list[tuple[str, str, Handler]]:
    config, entry = desk.config, desk.generator.entry

    async def read_edit(request: Request) -> Wish:
        fields = await read_json(request, config)
        return await asyncio.to_thread(wish_of_edit, fields, {}, config, entry)

    async def read_upload(request: Request) -> Wish:
        fields, files = await read_form(request, config)
        return await asyncio.to_thread(wish_of_edit, fields, files, config, entry)

    async def edit(request: Request) -> Response:
        return _public_answer(request, await granted(desk, request, read_edit))

    async def edit_upload(request: Request) -> Response:
        return _public_answer(request, await granted(desk, request, read_upload))

    async def health(request: Request) -> Response:
        try:
            async with asyncio.timeout(10):
                is_ready = await desk.generator.num_running() > 0
        except Exception:
            is_ready = False
        content = {
            "status": "Healthy" if is_ready else "Unhealthy",
            "gpu_manager_ready": is_ready,
            "timestamp": time.time(),
        }
        return JSONResponse(content, 200 if is_ready else 503)

    async def status(request: Request) -> Response:
        return JSONResponse(await desk.status())

    return [
        ("POST", "/edit", edit),
        ("POST", "/edit-upload", edit_upload),
        ("GET", "/health", health),
        ("GET", "/status", status),
    ]


def _public_answer(request: Request, made: Made) -> Response:
    wish = made.wish
    if "image/png" in request.headers.get("accept", ""):
        headers = {"X-Task-Id": made.id, "X-Seed": str(wish.seeds[0])}
        return Response(made.pngs[0], media_type="image/png", headers=headers)
    content = {
        "success": True,
        "task_id": made.id,
        "edited_image": base64.b64encode(made.pngs[0]).decode(),
        "seed": wish.seeds[0],
        "original_prompt": wish.prompt,
        # No prompt is rewritten here: that is the critic's work.
        "enhanced_prompt": wish.prompt if wish.is_enhancing else None,
        "gpu_id": None,
        "processing_time": made.seconds,
        "error": None,
        "ignored": list(wish.ignored),
    }
    return JSONResponse(content)


def _openai_routes(desk: Desk) -> list[tuple[str, str, Handler]]:
    config, entry = desk.config, desk.generator.entry

    async def read_generation(request: Request) -> Wish:
        fields = await read_json(request, config)
        return await asyncio.to_thread(wish_of_openai, fields, {}, config, entry)

    async def read_edit(request: Request) -> Wish:
        fields, files = await read_form(request, config)
        if not files.get("image"):
            raise Refused(400, "image is missing: expected an uploaded file; paths and URLs are not opened here")
        return await asyncio.to_thread(wish_of_openai, fields, files, config, entry)

    async def generations(request: Request) -> Response:
        return _openai_answer(await granted(desk, request, read_generation))

    async def edits(request: Request) -> Response:
        return _openai_answer(await granted(desk, request, read_edit))

    async def models(request: Request) -> Response:
        model = {"id": entry.name, "object": "model", "created": 0, "owned_by": "interleave"}
        return JSONResponse({"object": "list", "data": [model]})

    return [
        ("POST", "/v1/images/generations", generations),
        ("POST", "/v1/images/edits", edits),
        ("GET", "/v1/models", models),
    ]


def _openai_answer(made: Made) -> Response:
    images = [
        {"b64_json": base64.b64encode(png).decode(), "seed": seed}
        for png, seed in zip(made.pngs, made.wish.seeds, strict=True)
    ]
    return JSONResponse({"created": int(time.time()), "output_format": "png", "data": images})
