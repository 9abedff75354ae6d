"""The service's interface as an OpenAPI document, built from the tables that requests are parsed with."""

from collections.abc import Iterable, Mapping
from typing import Any

from actors.web.examples import CURL, PYTHON
from actors.web.fields import EDIT, OPENAI, STORY, Fields, Schema

Operation = dict[str, Any]
VERSION = "1"
"""Version of the interface: raised when a field changes its meaning or is removed."""
_REFUSALS = {
    "400": "The request is invalid; the answer says why.",
    "401": "No key was sent, or a wrong one.",
    "403": "The service has no key, and the request comes from another site's page.",
    "408": "The request was not complete in time.",
    "413": "The request is too large.",
    "415": "The request has an unsupported type.",
    "429": "Too many requests are pending; `Retry-After` says when to come back.",
    "502": "The generator failed.",
    "503": "The service is stopping, or its budget is spent.",
    "504": "It was not done in time.",
}


def describe(paths: Iterable[str]) -> dict[str, Any]:
    """Return the OpenAPI document of those routes; unknown ones are left out."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "InterleaveThinker",
            "version": VERSION,
            "description": "Image generation and editing, and stories of text and images. Images are sent as PNG.",
        },
        "paths": {
            path: {method: _named(path, operation) for method, operation in OPERATIONS[path].items()}
            for path in paths
            if path in OPERATIONS
        },
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "If the service has a key."},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
            }
        },
    }


def _named(path: str, operation: Operation) -> Operation:
    samples = [("curl", CURL.get(path)), ("Python", PYTHON.get(path))]
    shown = [{"lang": lang, "source": source} for lang, source in samples if source]
    return {**operation, "x-codeSamples": shown} if shown else operation


def _object(properties: Mapping[str, Schema], required: Iterable[str] = ()) -> Operation:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def _body(kind: str, schema: Operation) -> Operation:
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}


def _json(fields: Fields) -> Operation:
    return _body("application/json", _object(fields.values, ["prompt"]))


def _form(fields: Fields, required: Iterable[str] = ()) -> Operation:
    files = {name: _repeated(schema) for name, schema in fields.files.items()}
    texts = {name: schema for name, schema in fields.values.items() if name not in ("references", *files)}
    return _body("multipart/form-data", _object({**files, **texts}, ["prompt", *required]))


def _repeated(schema: Schema) -> Schema:
    return {"type": "array", "items": {"type": "string", "format": "binary"}, "description": schema["description"]}


def _operation(summary: str, answer: Operation | None, *, is_open: bool = False, **more: object) -> Operation:
    refusals = {} if is_open else {status: {"description": why} for status, why in _REFUSALS.items()}
    kind = more.pop("kind", "application/json")
    content = {kind: {"schema": answer or {}}}
    content |= {"image/png": {"schema": {"type": "string", "format": "binary"}}} if more.pop("is_png", False) else {}
    return {
        "summary": summary,
        **more,
        "security": [] if is_open else [{"bearer": []}, {"header": []}, {}],
        "responses": {"200": {"description": "Done.", "content": content}, **refusals},
    }


def _typed(**types: str) -> dict[str, Schema]:
    return {name: {"type": kind} for name, kind in types.items()}


_IGNORED: Schema = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Fields that were sent without effect: unknown, or settings that the generator does not take.",
}
_EDITED = _object(
    {
        **_typed(success="boolean", task_id="string"),
        "edited_image": {"type": "string", "description": "The PNG as base64."},
        **_typed(seed="integer", original_prompt="string", processing_time="number"),
        "enhanced_prompt": {"type": ["string", "null"]},
        "gpu_id": {"type": "null"},
        "error": {"type": "null"},
        "ignored": _IGNORED,
    }
)
_IMAGE = _object({"b64_json": {"type": "string", "description": "The PNG as base64."}, "seed": {"type": "integer"}})
_IMAGES = _object(
    {
        **_typed(created="integer", output_format="string"),
        "data": {"type": "array", "items": _IMAGE},
        "ignored": _IGNORED,
    }
)
_EVENTS = {
    "type": "string",
    "description": (
        "Server-sent events. `plan`: the steps to come. `step`: a finished step, its image as base64. `story`: "
        "everything, images by reference; always the last. Its `status` is done, unplanned, incomplete, or telling "
        "if the service stopped first; `error` says why."
    ),
}
_STATUS = _object(_typed(active_workers="integer", pending_tasks="integer", max_pending="integer", generator="object"))
_ACCEPT = "With `Accept: image/png` the answer is the PNG itself, its seed in the header `X-Seed`."

OPERATIONS: dict[str, dict[str, Operation]] = {
    "/edit": {
        "post": _operation("Draw or edit one image", _EDITED, is_png=True, description=_ACCEPT, **_json(EDIT)),
    },
    "/edit-upload": {
        "post": _operation("The same with uploaded files", _EDITED, is_png=True, description=_ACCEPT, **_form(EDIT)),
    },
    "/v1/images/generations": {
        "post": _operation("Draw images from text, like OpenAI's interface", _IMAGES, **_json(OPENAI)),
    },
    "/v1/images/edits": {
        "post": _operation("Edit an image, like OpenAI's interface", _IMAGES, **_form(OPENAI, ["image"])),
    },
    "/v1/interleave": {
        "post": _operation("Tell a story, step by step", _EVENTS, kind="text/event-stream", **_json(STORY)),
    },
    "/v1/models": {"get": _operation("The generator's name, like OpenAI's interface", _object(_typed(data="array")))},
    "/status": {"get": _operation("The current load, and what the generator can do", _STATUS)},
    "/metrics": {"get": _operation("The numbers of /status for Prometheus", {"type": "string"}, kind="text/plain")},
    "/health": {
        "get": _operation(
            "Whether images can be made (200) or not (503)", _object(_typed(status="string")), is_open=True
        ),
    },
    "/": {"get": _operation("The routes in short", None, is_open=True)},
    "/docs": {"get": _operation("This interface as a page", {"type": "string"}, kind="text/html", is_open=True)},
    "/openapi.json": {"get": _operation("This interface as an OpenAPI document", None, is_open=True)},
}
