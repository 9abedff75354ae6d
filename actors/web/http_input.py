"""Requests from strangers: who may ask, how much is read of them, and how a refusal is told."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from actors.metered.connections import Secret
from actors.web.config import ServiceConfig, is_loopback

MAX_FIELDS = 64
Done = TypeVar("Done")


class RequestRefused(Exception):
    """A request that is not carried out, with the HTTP status that says whose fault it is."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


class ClientDisconnected(Exception):
    """The client went away."""


def authenticate(request: Request, key: Secret | None) -> None:
    """Raise `RequestRefused` for a stranger: without the key, or (where there is none) from another site's page."""
    if key is not None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        sent = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        if not hmac.compare_digest(sent.encode(), key.value.encode()):
            what = "a wrong key" if sent else "no key"
            raise RequestRefused(
                401, f"{what} was sent; expected `Authorization: Bearer <key>`", {"WWW-Authenticate": "Bearer"}
            )
        return
    # Without a key, a page in the user's browser must not use what listens on their machine.
    origin = request.headers.get("origin")
    sites = [f"//{request.headers.get('host', '')}", *([origin] if origin else [])]
    if not all(_is_here(site) for site in sites):
        raise RequestRefused(403, "this service has no key, so only this machine's own programs may ask it")


def _is_here(site: str) -> bool:
    try:
        return is_loopback(urlsplit(site).hostname)
    except ValueError:
        return False


async def read_json(request: Request, config: ServiceConfig) -> dict[str, Any]:
    """Return a request's JSON object. Raises `RequestRefused`."""
    body = await _in_time(_bounded(request, config.max_body_bytes).body(), config)
    try:
        content = await asyncio.to_thread(json.loads, body)
    except (ValueError, RecursionError):
        raise RequestRefused(400, "expected a JSON object, found something that is no JSON") from None
    if not isinstance(content, dict):
        raise RequestRefused(400, f"expected a JSON object, found a {type(content).__name__}")
    return content


async def read_form(request: Request, config: ServiceConfig) -> tuple[dict[str, str], dict[str, list[bytes]]]:
    """Return a form's fields and its files' bytes by name. Raises `RequestRefused`."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RequestRefused(415, "expected multipart/form-data")
    bounded = _bounded(request, config.max_body_bytes)
    limits = {"max_files": MAX_FIELDS, "max_fields": MAX_FIELDS, "max_part_size": config.max_body_bytes}
    try:
        form = await _in_time(bounded.form(**limits), config)
    except HTTPException as error:
        raise RequestRefused(400, f"the form cannot be read: {error.detail}") from None
    try:
        return await _parts_of(form)
    finally:
        await form.close()


async def _parts_of(form: FormData) -> tuple[dict[str, str], dict[str, list[bytes]]]:
    fields: dict[str, str] = {}
    files: dict[str, list[bytes]] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.setdefault(name.removesuffix("[]"), []).append(await value.read())
        else:
            fields[name] = value
    return fields, files


def _bounded(request: Request, max_bytes: int) -> Request:
    """Return the request with a body that raises `RequestRefused` beyond the limit, at once if it states its length."""
    told = request.headers.get("content-length", "")
    too_large = RequestRefused(413, f"the request has more than the {max_bytes:,} bytes that are taken")
    if told.isdigit() and int(told) > max_bytes:
        raise too_large
    num_read = 0

    async def receive() -> Message:
        nonlocal num_read
        message = await request.receive()
        num_read += len(message.get("body", b""))
        if num_read > max_bytes:
            raise too_large
        return message

    return Request(request.scope, receive)


async def _in_time(reading: Awaitable[Done], config: ServiceConfig) -> Done:
    try:
        async with asyncio.timeout(config.upload_timeout_s):
            return await reading
    except TimeoutError:
        why = f"the request was not complete after {config.upload_timeout_s:g} s"
        raise RequestRefused(408, why, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise ClientDisconnected from None


async def while_connected(request: Request, work: Awaitable[Done]) -> Done:
    """Return the result of `work`; cancel it and raise `ClientDisconnected` if the client leaves first."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnected
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await asyncio.gather(working, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
