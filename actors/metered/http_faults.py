"""What an OpenAI client's exceptions mean for the next attempt."""

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from typing import Any

from actors.metered.answers import MAX_SAID, said_in
from actors.metered.connections import url_of
from actors.metered.endpoints import Endpoint
from actors.metered.environment import proxy_for, without_login
from actors.metered.keys import Secret
from actors.metered.redirects import RequestLost
from actors.metered.retry import CallError, Fault
from actors.store.image_formats import described, format_of
from actors.store.store import NO_IMAGE
from rewards.judging.rubric import RubricError

RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
KIND_BY_STATUS = {
    401: "unauthorized",
    402: "no_quota",
    403: "forbidden",
    404: "not_found",
    407: "unauthorized",  # from the proxy
    408: "timeout",
    429: "rate_limit",
}

_SECONDS = re.compile(r"-?\d+(\.\d*)?", re.ASCII)
_MAX_WAIT_S = 86_400.0
"""Whoever asks for more is asked again after a day, in case they erred."""
_UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol", "LocalProtocolError")
"""httpx's errors of requests that found no connection, so that no server has seen them."""


def fault_at(endpoint: Endpoint, error: Exception) -> Fault:
    """Return the fault of a request to an endpoint, without the key, but with the proxy on the way."""
    fault = fault_of_http(error, endpoint.key)
    proxy = proxy_for(url_of(endpoint.config)) if fault.kind == "unreachable" and endpoint.config.has_proxy else ""
    return replace(fault, error=f"{fault.error} (by the proxy in {proxy})") if proxy else fault


def fault_of_http(error: Exception, key: Secret | None = None) -> Fault:
    """Return the fault of a request that raised `error`; *** replaces the key in its text."""
    import openai

    def said(text: object, limit: int | None = 500) -> str:  # hide the key before cutting: half a key is not found
        whole = " ".join(str(text).encode(errors="replace").decode().split())  # half a character is written nowhere
        return (whole if key is None else key.hidden_in(whole))[:limit]

    if isinstance(error, CallError):
        return replace(error.fault, error=said(error.fault.error))
    if isinstance(error, RubricError):
        return Fault(error.kind, said(error.detail))
    if isinstance(error, NO_IMAGE):
        return Fault("no_image", said(error, None), is_retryable=False)
    cause = (error.__cause__ if isinstance(error, openai.APIConnectionError) else None) or error
    if isinstance(cause, RequestLost) or type(cause).__name__ == "TooManyRedirects":
        return Fault("redirected", said(cause), is_retryable=False)
    if isinstance(error, openai.APIConnectionError):  # includes timeouts
        if type(cause).__name__ in _UNSENT:
            return Fault("unreachable", said(f"{type(cause).__name__}: {cause}"))
        if isinstance(error, openai.APITimeoutError):
            return Fault("timeout", "the endpoint did not answer in time")
        return Fault("connection", said(f"{type(cause).__name__}: {cause}"))
    if isinstance(error, openai.APIStatusError):
        return _status_fault(error, said(_refusal(error), 400))
    if isinstance(error, TypeError):  # the client cannot send it
        return Fault("TypeError", said(error), is_retryable=False)
    if isinstance(error, UnicodeDecodeError):  # the client reads JSON
        what = f"the endpoint sent {described(error.object)}, expected JSON in UTF-8"
        return Fault("unreadable", said(what), is_retryable=format_of(error.object) is None)
    if isinstance(error, JSONDecodeError):
        what = f"no JSON ({error}): {error.doc[:MAX_SAID]!r}" if error.doc else "an empty answer"
        return Fault("unreadable", said(f"the endpoint sent {what}"))
    return Fault("unreadable", said(f"{type(error).__name__}: {error}"))


def _refusal(error: Any) -> str:
    """Return what a server says beside a status: OpenAI's message, else its own words in whatever form."""
    body = error.body  # the whole of it, or what its field `error` holds
    if isinstance(body, Mapping) and isinstance(body.get("message"), str) and body["message"]:
        return str(error)
    said = body if isinstance(body, str) else said_in(body) if body else error.response.text
    return said.strip() or error.response.reason_phrase or "no reason given"


def _status_fault(error: Any, said: str) -> Fault:
    status = error.status_code
    kind = KIND_BY_STATUS.get(status, "server_error" if status >= 500 else "bad_request")
    is_retryable = status in RETRYABLE_STATUS or status >= 500
    # An exhausted account gets a 429 too, but waiting does not help.
    if getattr(error, "code", None) == "insufficient_quota":
        kind, is_retryable = "no_quota", False
    if error.response.headers.get("x-should-retry") == "false":  # OpenAI's, and of services of our own
        is_retryable = False
    wait_s = retry_after_s(error.response.headers.get("retry-after"))
    # A rate-limited request has not been processed: only the deadline limits how often it is sent.
    is_counted = kind != "rate_limit"
    if error.response.history:  # to another host, the client sends no key
        said += f" (redirected to {without_login(str(error.response.url))})"
    return Fault(kind, f"HTTP {status}: {said}", is_retryable, is_counted, wait_s)


def retry_after_s(header: str | None) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3), seconds or a date, as seconds from now: at most a day.

    None for what is neither.

    >>> retry_after_s("1.5"), retry_after_s("9" * 400), retry_after_s("soon"), retry_after_s("inf"), retry_after_s(None)
    (1.5, 86400.0, None, None, None)
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return min(max(0.0, float(text)), _MAX_WAIT_S)
    try:
        date = parsedate_to_datetime(text)
        # A date is in UTC, even where it does not say so.
        wait_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, wait_s), _MAX_WAIT_S)
