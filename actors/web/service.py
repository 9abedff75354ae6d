"""The pool behind HTTP: the public system's routes, OpenAI's images interface, and any routes that are added.

The front end runs in the driver's process and calls the same `Generator` that training uses: replicas are wherever the
cluster has them, equal requests are made once, and a waiting request is cancelled when its client goes away.
"""

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from actors.metered.connections import Secret
from actors.web.docs import ABOUT, index_routes
from actors.web.http_input import (
    ClientDisconnected,
    Handler,
    RequestRefused,
    authenticate,
    read_form,
    read_json,
    while_connected,
)
from actors.web.image_request import ImageRequest, parse_edit_request, parse_openai_request
from actors.web.image_service import ImageResult, ImageService
from actors.web.json_response import AnyJSONResponse
from actors.web.metrics import CONTENT_TYPE, exposition
from actors.web.stopping import ServiceStopping, unless_stopping

CLIENT_CLOSED_REQUEST = 499
"""Status of the response to a client that did not wait; it is never received."""
STOPPED = "the service stopped before this was done; try again when it is back"
_log = logging.getLogger(__name__)


def build_app(service: ImageService, key: Secret | None, more: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application. `more` routes use `require_key` already, as the routes here do."""
    public = _public_routes(service)
    openai = _openai_routes(service)
    routes: list[BaseRoute] = [
        Route(path, require_key(handler, key, shape), methods=[method])
        for shape, group in ((public_error, public), (openai_error, openai))
        for method, path, handler in group
    ]
    served = [*routes, *more]
    paths = [route.path for route in served if isinstance(route, Route)]
    # The interface's description reveals nothing about this service: it needs no key, since a browser cannot send one.
    about = [
        Route(path, require_key(handler, key, public_error), methods=["GET"]) for path, handler in index_routes(paths)
    ]
    return Starlette(routes=[*served, *about], exception_handlers={HTTPException: _not_served})


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:100]
    message = f"{path} does not take {request.method}" if error.status_code == 405 else f"there is no {path}"
    content = openai_error(error.status_code, f"{message}; GET / lists the routes")
    return AnyJSONResponse(content, error.status_code, headers=error.headers)


def require_key(handler: Handler, key: Secret | None, shape: Callable[[int, str], object]) -> Handler:
    """Return a handler that requires the key, and reports refusals in a client's `shape`."""

    async def admitting(request: Request) -> Response:
        path = request.scope["path"]  # the path that was routed; the URL contains the client's Host header
        if path != "/health" and not (key is not None and path in ABOUT):
            authenticate(request, key)
        return await handler(request)

    return with_error_responses(admitting, shape)


def with_error_responses(handler: Handler, shape: Callable[[int, str], object]) -> Handler:
    """Return a handler that reports refusals and failures in a client's `shape`."""

    async def handle(request: Request) -> Response:
        try:
            return await unless_stopping(request.scope, handler(request))
        except RequestRefused as error:
            return AnyJSONResponse(shape(error.status, error.message), error.status, headers=error.headers)
        except ServiceStopping:
            return AnyJSONResponse(shape(503, STOPPED), 503, headers={"Retry-After": "10", "Connection": "close"})
        except ClientDisconnected:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except Exception:
            _log.exception("%s %s failed", request.method, request.url.path)
            return AnyJSONResponse(shape(500, "internal error; see the service's log"), 500)

    return handle


def public_error(status: int, message: str) -> dict[str, object]:
    return {"success": False, "error": message, "detail": message}


def openai_error(status: int, message: str) -> dict[str, object]:
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


async def handle(
    service: ImageService, request: Request, read: Callable[[Request], Awaitable[ImageRequest]]
) -> ImageResult:
    """Read an image request, then take a slot and make the images as long as the client waits."""
    image_request = await read(request)
    with service.admission_slot():
        try:
            return await while_connected(request, service.make(image_request))
        except ClientDisconnected:
            service.counts["gone"] += 1
            raise


def _public_routes(service: ImageService) -> list[tuple[str, str, Handler]]:
    config, spec = service.config, service.generator.spec

    async def read_edit(request: Request) -> ImageRequest:
        fields = await read_json(request, config)
        return await asyncio.to_thread(parse_edit_request, fields, {}, config, spec)

    async def read_upload(request: Request) -> ImageRequest:
        fields, files = await read_form(request, config)
        return await asyncio.to_thread(parse_edit_request, fields, files, config, spec)

    async def edit(request: Request) -> Response:
        return _public_answer(request, await handle(service, request, read_edit))

    async def edit_upload(request: Request) -> Response:
        return _public_answer(request, await handle(service, request, read_upload))

    async def health(request: Request) -> Response:
        try:
            async with asyncio.timeout(10):
                is_ready = await service.generator.num_running() > 0
        except Exception:
            is_ready = False
        content = {
            "status": "Healthy" if is_ready else "Unhealthy",
            "gpu_manager_ready": is_ready,
            "timestamp": time.time(),
        }
        return AnyJSONResponse(content, 200 if is_ready else 503)

    async def status(request: Request) -> Response:
        return AnyJSONResponse(await service.status())

    async def metrics(request: Request) -> Response:
        return Response(exposition(await service.status()), media_type=CONTENT_TYPE)

    return [
        ("POST", "/edit", edit),
        ("POST", "/edit-upload", edit_upload),
        ("GET", "/health", health),
        ("GET", "/status", status),
        ("GET", "/metrics", metrics),
    ]


def _public_answer(request: Request, made: ImageResult) -> Response:
    image_request = made.image_request
    if "image/png" in request.headers.get("accept", ""):
        headers = {"X-Task-Id": made.id, "X-Seed": str(image_request.seeds[0])}
        return Response(made.pngs[0], media_type="image/png", headers=headers)
    content = {
        "success": True,
        "task_id": made.id,
        "edited_image": base64.b64encode(made.pngs[0]).decode(),
        "seed": image_request.seeds[0],
        "original_prompt": image_request.prompt,
        # No prompt is rewritten here: that is the critic's job.
        "enhanced_prompt": image_request.prompt if image_request.is_enhancing else None,
        "gpu_id": None,
        "processing_time": made.seconds,
        "error": None,
        "ignored": list(image_request.ignored),
    }
    return AnyJSONResponse(content)


def _openai_routes(service: ImageService) -> list[tuple[str, str, Handler]]:
    config, spec = service.config, service.generator.spec

    async def read_generation(request: Request) -> ImageRequest:
        fields = await read_json(request, config)
        return await asyncio.to_thread(parse_openai_request, fields, {}, config, spec)

    async def read_edit(request: Request) -> ImageRequest:
        fields, files = await read_form(request, config)
        if not files.get("image"):
            raise RequestRefused(400, "image is missing: expected an uploaded file; paths and URLs are not opened here")
        return await asyncio.to_thread(parse_openai_request, fields, files, config, spec)

    async def generations(request: Request) -> Response:
        return _openai_answer(await handle(service, request, read_generation))

    async def edits(request: Request) -> Response:
        return _openai_answer(await handle(service, request, read_edit))

    async def models(request: Request) -> Response:
        model = {"id": spec.name, "object": "model", "created": 0, "owned_by": "interleave"}
        return AnyJSONResponse({"object": "list", "data": [model]})

    return [
        ("POST", "/v1/images/generations", generations),
        ("POST", "/v1/images/edits", edits),
        ("GET", "/v1/models", models),
    ]


def _openai_answer(made: ImageResult) -> Response:
    images = [
        {"b64_json": base64.b64encode(png).decode(), "seed": seed}
        for png, seed in zip(made.pngs, made.image_request.seeds, strict=True)
    ]
    content = {
        "created": int(time.time()),
        "output_format": "png",
        "data": images,
        "ignored": list(made.image_request.ignored),
    }
    return AnyJSONResponse(content)
