"""Untrusted requests: who may send them, how much of them is read, and how a refusal is reported."""

import asyncio
import hmac
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from typing import TypeVar
from urllib.parse import urlsplit

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message

from actors.metered.connections import Secret
from actors.web.config import ServiceConfig, is_loopback
from rollout.text.marks import is_unicode
from rollout.text.strict_json import DuplicateKeyError, unique_keys
from rollout.text.type_names import json_type

Handler = Callable[[Request], Awaitable[Response]]
"""Answers one route's requests."""
MAX_FIELDS = 64
MAX_VALUES = 100_000
"""Lists, objects and commas of a JSON body, including those inside strings; more take seconds to parse."""
_CHUNK = 2**20
_READING: Counter[str] = Counter()
"""`bytes` of the bodies being read now, by all applications of this process."""
Done = TypeVar("Done")
# It warns of what clients are told in an answer: anybody could fill the log.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class RequestRefused(Exception):
    """A refused request, with an HTTP status that says whose fault it is."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers or {})


class ClientDisconnected(Exception):
    """The client went away."""


def authenticate(request: Request, key: Secret | None) -> None:
    """Raise `RequestRefused` for a request without the key or, if there is no key, from another site's page."""
    if key is not None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        sent = token.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
        if not hmac.compare_digest(sent.encode(), key.value.encode()):
            what = "a wrong key" if sent else "no key"
            raise RequestRefused(
                401, f"{what} was sent; expected `Authorization: Bearer <key>`", {"WWW-Authenticate": "Bearer"}
            )
        return
    # Without a key, a page in the user's browser must not reach services on the user's machine.
    origin = request.headers.get("origin")
    sites = [f"//{request.headers.get('host', '')}", *([origin] if origin else [])]
    if not all(_is_here(site) for site in sites):
        raise RequestRefused(403, "this service has no key, so only programs on its own machine may use it")


def _is_here(site: str) -> bool:
    try:
        return is_loopback(urlsplit(site).hostname)
    except ValueError:
        return False


async def read_json(request: Request, config: ServiceConfig) -> dict[str, object]:
    """Return a request's JSON object. Raises `RequestRefused`."""
    with _bounded(request, config) as bounded:
        body = await _in_time(bounded.body(), config)
    try:
        content = await asyncio.to_thread(_parsed, body)
    except DuplicateKeyError as error:
        raise RequestRefused(400, f"{error.key[:40]!r}: expected once, found twice") from None
    except (ValueError, RecursionError):
        raise RequestRefused(400, "expected a JSON object, found something that is not JSON") from None
    if not isinstance(content, dict):
        raise RequestRefused(400, f"expected a JSON object, found {json_type(content)}")
    for name in content:
        if not is_unicode(name):
            raise RequestRefused(400, f"the field name {name[:40]!r} holds half a character (a lone surrogate)")
    return content


def _parsed(body: bytes) -> object:
    num_values = 0
    # In pieces, because neither this nor the parser releases the GIL.
    for at in range(0, len(body), _CHUNK):
        piece = body[at : at + _CHUNK]
        num_values += len(piece) - len(piece.translate(None, b"[{,"))
        if num_values > MAX_VALUES:
            why = f"it has more than {MAX_VALUES:,} lists, objects and commas"
            raise RequestRefused(400, f"this JSON is not accepted: {why}")
    return json.loads(body, object_pairs_hook=unique_keys)


async def read_form(request: Request, config: ServiceConfig) -> tuple[dict[str, str], dict[str, list[bytes]]]:
    """Return a form's fields and its files' bytes by name. Raises `RequestRefused`."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise RequestRefused(415, "expected multipart/form-data")
    charset = options.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise RequestRefused(400, f"the form's charset is {charset[:40]!r}; expected utf-8")
    with _bounded(request, config) as bounded:
        try:
            form, is_whole = await _in_time(_parsed_form(bounded, config), config)
        except MultiPartException as error:
            boundary = options.get(b"boundary", b"").decode("latin-1")
            why = (
                f"its boundary is said to be {boundary[:40]!r}; {cause}"
                if (cause := error.__cause__)
                else error.message
            )
            raise RequestRefused(400, f"the form cannot be read: {why}") from None
        except (ValueError, LookupError):  # the parser's own, about odd headers
            raise RequestRefused(400, "the form cannot be read: its headers are malformed") from None
    try:
        if not is_whole:
            raise RequestRefused(400, "the form cannot be read: it ends before its last boundary")
        return await _parts_of(form)
    finally:
        await form.close()


class _FormParser(MultiPartParser):
    """Starlette's does not tell a form that was cut off, and leaves its last part out."""

    has_ended = False

    def on_end(self) -> None:
        self.has_ended = True


async def _parsed_form(request: Request, config: ServiceConfig) -> tuple[FormData, bool]:
    """Return a form, and whether it is whole."""
    limits = {"max_files": MAX_FIELDS, "max_fields": MAX_FIELDS, "max_part_size": config.max_body_bytes}
    async with aclosing(request.stream()) as stream:
        parser = _FormParser(request.headers, stream, **limits)
        return await parser.parse(), parser.has_ended


async def _parts_of(form: FormData) -> tuple[dict[str, str], dict[str, list[bytes]]]:
    fields: dict[str, str] = {}
    files: dict[str, list[bytes]] = {}
    for name, value in form.multi_items():
        name = name.removesuffix("[]")
        if isinstance(value, UploadFile):
            files.setdefault(name, []).append(await value.read())
        elif name in fields:
            raise RequestRefused(400, f"{name[:40]}: expected once, found twice")
        else:
            fields[name] = value
    return fields, files


@contextmanager
def _bounded(request: Request, config: ServiceConfig) -> Iterator[Request]:
    """Yield the request; reading its body beyond a limit raises `RequestRefused`, at once if its length is declared.

    So does a body that is encoded (compressed).
    """
    if (encoding := request.headers.get("content-encoding", "")).lower() not in ("", "identity"):
        raise RequestRefused(415, f"Content-Encoding is {encoding[:40]!r}; only unencoded bodies are accepted")
    told = request.headers.get("content-length", "")
    too_large = RequestRefused(413, f"the request has more than the {config.max_body_bytes:,} bytes allowed")
    if told.isdecimal() and int(told) > config.max_body_bytes:
        raise too_large
    num_read = 0

    async def receive() -> Message:
        nonlocal num_read
        message = await request.receive()
        num_bytes = len(message.get("body", b""))
        num_read += num_bytes
        _READING["bytes"] += num_bytes
        if num_read > config.max_body_bytes:
            raise too_large
        if _READING["bytes"] > config.max_reading_bytes:
            why = f"{config.max_reading_mib:g} MiB of requests are being read already; come back later"
            raise RequestRefused(429, why, {"Retry-After": "1"})
        return message

    try:
        yield Request(request.scope, receive)
    finally:
        _READING["bytes"] -= num_read


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
