"""What an OpenAI client's exceptions are taken for."""

from typing import Any

import httpx
import openai
import pytest

from actors.metered.http_faults import fault_of_http

REQUEST = httpx.Request("POST", "http://host/v1")


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (httpx.ConnectTimeout("no answer"), "unreachable"),  # the client calls it a timeout, but nobody has seen it
        (httpx.PoolTimeout("no place"), "unreachable"),
        (httpx.ReadTimeout("no answer"), "timeout"),
        (httpx.ConnectError("refused"), "unreachable"),
        (httpx.ReadError("reset"), "connection"),
    ],
)
def test_whether_a_request_was_seen_is_told(cause, kind):
    raised: Any = openai.APITimeoutError if isinstance(cause, httpx.TimeoutException) else openai.APIConnectionError
    error = raised(request=REQUEST)
    error.__cause__ = cause
    assert fault_of_http(error).kind == kind
