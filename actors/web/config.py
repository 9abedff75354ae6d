"""Settings of the HTTP service: where it listens, who may ask, and how much."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Le

from actors.metered.keys import Secret, why_no_key
from rollout.text.limits import KeyVariable, Name, Port, PositiveInt, Seconds, check_fields, one_of


@dataclass(frozen=True)
class ServiceConfig:
    """`interleave serve`: one front for the pool, wherever its replicas are."""

    host: Name = "127.0.0.1"
    """Address to listen at; 0.0.0.0 is open to the network and needs a key."""
    port: Port = 8011
    """0: a free one."""
    api_key_env: KeyVariable = "INTERLEAVE_API_KEY"
    """Environment variable with the key that clients have to send; unset: no key, on loopback alone."""
    max_pending: PositiveInt = 256
    """Images asked for and not answered yet; the next request is told to come back later (429)."""
    timeout_s: Seconds = 300.0
    """Longest that a request may take from its last byte to its answer."""
    upload_timeout_s: Seconds = 60.0
    """Longest that a client may take to send a request, or may leave its answer lying."""
    head_timeout_s: Seconds = 10.0
    """Longest that a connection may take to send its request's line and headers."""
    max_body_mib: Annotated[float, Gt(0), Le(2**20)] = 32.0
    max_reading_mib: Annotated[float, Gt(0), Le(2**20)] = 1024.0
    """Of all requests that are being read; a client that sends beyond it is told to come back later (429)."""
    max_pixels: PositiveInt = 16 * 1024 * 1024
    """Of an image that is sent."""
    max_prompt_chars: PositiveInt = 16_000
    max_images: PositiveInt = 8
    """New images of one request (OpenAI's n)."""
    max_steps: PositiveInt = 100
    """num_inference_steps that a request may ask for."""
    other_sizes: Annotated[str, one_of("refuse", "scale")] = "refuse"
    """What becomes of a size that is asked for and that the generator does not make, or that its recipe sets
    otherwise: refuse (400), or scale: the image is made as if none was asked for, then scaled to fit into it."""

    def __post_init__(self) -> None:
        check_fields(self, "service")
        if not self.max_reading_mib >= self.max_body_mib:
            raise ValueError(
                f"service.max_reading_mib is {self.max_reading_mib:g}; expected at least service.max_body_mib, "
                f"{self.max_body_mib:g}"
            )

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body_mib * 2**20)

    @property
    def max_reading_bytes(self) -> int:
        return int(self.max_reading_mib * 2**20)

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


def read_service_key(config: ServiceConfig) -> Secret | None:
    """Return the key that clients have to send, from the environment. Raises ValueError where one is needed."""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key and not config.is_loopback:
        raise ValueError(
            f"service.host is {config.host}, open to others: set the environment variable {config.api_key_env} to "
            "the key that clients have to send, or listen at 127.0.0.1"
        )
    if key and (why := why_no_key(key)):
        raise ValueError(f"service: the key in {config.api_key_env} {why}; set it again")
    return Secret(key) if key else None


def is_loopback(host: str | None) -> bool:
    """Say whether a host is this machine alone.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
