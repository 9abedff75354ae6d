"""Connections to OpenAI-compatible endpoints: keys from the environment, clients without retries."""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from actors.metered.config import EndpointConfig
from actors.metered.endpoints import Endpoint
from actors.metered.environment import check_environment, check_headers, check_url, without_login
from actors.metered.keys import Secret as Secret
from actors.metered.keys import read_key as read_key
from actors.metered.redirects import refuse_lost_request

OPENAI_URL = "https://api.openai.com/v1"
"""Address of a client without base_url, unless OPENAI_BASE_URL is set."""


def url_of(settings: EndpointConfig) -> str:
    """Return an endpoint's address."""
    return settings.base_url if settings.base_url is not None else os.environ.get("OPENAI_BASE_URL", OPENAI_URL)


def check_connections(endpoints: Sequence[EndpointConfig], where: str, *, are_listed: bool) -> None:
    """Raise ValueError, in one line, for an address or environment that no client can be made with.

    `where` is the section of the recipe that holds the endpoints; `are_listed`: in its `endpoints`.
    """
    different = {(one.base_url, one.has_proxy): number for number, one in reversed(list(enumerate(endpoints)))}
    for number in sorted(different.values()):
        _check_connection(endpoints[number], f"{where}.endpoints.{number}" if are_listed else where)


def _check_connection(settings: EndpointConfig, where: str) -> None:
    variable = "OPENAI_BASE_URL" if settings.base_url is None else f"{where}.base_url"
    check_url(url_of(settings), variable, "http://localhost:8000/v1")
    if settings.has_proxy:
        check_environment(url_of(settings))
    check_headers()
    try:
        _client(settings, Secret("none"), 1.0)
    except Exception as error:
        raise ValueError(
            f"{where}: no client can be made for {without_login(url_of(settings))} ({type(error).__name__}: {error}); "
            "check SSL_CERT_FILE, HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY"
        ) from error


def connect(settings: EndpointConfig, key: Secret, timeout_s: float, *, is_structured: bool = True) -> Endpoint:
    """Return an endpoint with its client; `settings` must name model and concurrency."""
    client = _client(settings, key, timeout_s)
    host = urlsplit(str(client.base_url)).netloc.rpartition("@")[2]  # the name must not show a login
    name = f"{host} with {settings.api_key_env}"
    return Endpoint(name, settings, settings.max_concurrency, client, is_structured, key)


def _client(settings: EndpointConfig, key: Secret, timeout_s: float) -> Any:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    on_response = partial(refuse_lost_request, url_of(settings))
    # The client's own retries are off: they would escape our counts and our deadline.
    return AsyncOpenAI(
        api_key=key.value,
        base_url=settings.base_url,
        max_retries=0,
        timeout=timeout_s,
        http_client=DefaultAsyncHttpxClient(trust_env=settings.has_proxy, event_hooks={"response": [on_response]}),
    )
