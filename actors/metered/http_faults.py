"""What an OpenAI client's exceptions mean for the next attempt."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

from actors.metered.retry import Fault
from rewards.rubric import RubricError

RETRYABLE_STATUS = frozenset({408, 409, 425, 429})
KIND_BY_STATUS = {
    401: "unauthorized",
    402: "no_quota",
    403: "forbidden",
    404: "not_found",
    408: "timeout",
    429: "rate_limit",
}


_UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
"""httpx's errors of requests that found no connection: nobody has seen them."""


def fault_of_http(error: Exception) -> Fault:
    """Return the fault of a request that raised `error`."""
    import openai

    if isinstance(error, RubricError):
        return Fault(error.kind, error.detail)
    if isinstance(error, FileNotFoundError):
        return Fault("no_image", str(error), is_retryable=False)
    if isinstance(error, openai.APIConnectionError):  # a timeout is one, too
        cause = error.__cause__ or error
        if type(cause).__name__ in _UNSENT:
            return Fault("unreachable", f"{type(cause).__name__}: {cause}"[:500])
        if isinstance(error, openai.APITimeoutError):
            return Fault("timeout", "the endpoint did not answer in time")
        return Fault("connection", f"{type(cause).__name__}: {cause}"[:500])
    if isinstance(error, openai.APIStatusError):
        return _status_fault(error)
    return Fault("unreadable", f"{type(error).__name__}: {error}"[:500])


def _status_fault(error: Any) -> Fault:
    status = error.status_code
    kind = KIND_BY_STATUS.get(status, "server_error" if status >= 500 else "bad_request")
    is_retryable = status in RETRYABLE_STATUS or status >= 500
    # An exhausted account answers 429 too, but waiting does not fill it.
    if getattr(error, "code", None) == "insufficient_quota":
        kind, is_retryable = "no_quota", False
    wish = retry_after_s(error.response.headers.get("retry-after"))
    # Who is told to come back later has not been looked at: only the deadline limits how often.
    is_counted = kind != "rate_limit"
    said = error.body if isinstance(error.body, str) else str(error)  # a plain sentence, or OpenAI's error object
    return Fault(kind, f"HTTP {status}: {said[:400]}", is_retryable, is_counted, wish)


def retry_after_s(header: str | None) -> float | None:
    """Read a Retry-After header (RFC 9110, 10.2.3): seconds or a date.

    >>> retry_after_s("1.5"), retry_after_s("soon"), retry_after_s(None)
    (1.5, None, None)
    """
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
