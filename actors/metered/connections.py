"""Connections to OpenAI-compatible endpoints: their keys from the environment, their clients without retries."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from actors.judge.config import EndpointConfig
from actors.metered.endpoints import Endpoint


class Secret:
    """A string that no repr, log or traceback shows."""

    def __init__(self, value: str):
        self.value = value

    def __repr__(self) -> str:
        return "Secret(***)"


def read_key(variable: str, whose: str) -> Secret:
    """Return a key from the environment. Raises ValueError with the variable's name; `whose` is a recipe's section."""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ValueError(
            f"the {whose}'s key is missing: set the environment variable {variable} (any text for "
            f"an endpoint without keys), or name another one in {whose}.api_key_env or in its endpoint"
        )
    return Secret(key)


def connect(settings: EndpointConfig, key: Secret, timeout_s: float, *, is_structured: bool = True) -> Endpoint:
    """Return an endpoint with its client; `settings` name model and concurrency."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    # The client's own retries are off: they would hide from our count and our deadline.
    client = AsyncOpenAI(
        api_key=key.value,
        base_url=settings.base_url,
        max_retries=0,
        timeout=timeout_s,
        http_client=None if settings.has_proxy else DefaultAsyncHttpxClient(trust_env=False),
    )
    name = f"{urlsplit(str(client.base_url)).netloc} with {settings.api_key_env}"
    return Endpoint(name, settings, settings.max_concurrency, client, is_structured)
