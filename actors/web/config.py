"""Settings of the HTTP service: where it listens, who may ask, and how much."""

import ipaddress
import os
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Le

from actors.bound_address import Host
from actors.metered.keys import Secret, why_no_key
from rollout.text.limits import KeyVariable, Port, PositiveInt, Seconds, check_fields, one_of


@dataclass(frozen=True)
class ServiceConfig:
    """`interleave serve`: one front end for the pool, wherever its replicas are."""

    host: Host = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is open to the network and needs a key."""
    port: Port = 8011
    """0: a free one."""
    api_key_env: KeyVariable = "INTERLEAVE_API_KEY"
    """Environment variable with the key that clients have to send; if unset, no key is needed, on loopback only."""
    max_pending: PositiveInt = 256
    """Images requested and not answered yet; the next request is told to come back later (429)."""
    timeout_s: Seconds = 300.0
    """Maximum time from a request's last byte to its answer."""
    upload_timeout_s: Seconds = 60.0
    """Maximum time for a client to send a request, or to leave its answer unread."""
    head_timeout_s: Seconds = 10.0
    """Maximum time for a connection to send its request line and headers."""
    max_body_mib: Annotated[float, Gt(0), Le(2**20)] = 32.0
    max_reading_mib: Annotated[float, Gt(0), Le(2**20)] = 1024.0
    """Total size of the requests being read; a client that exceeds it is told to come back later (429)."""
    max_pixels: PositiveInt = 16 * 1024 * 1024
    """Size limit of an image that a client sends."""
    max_prompt_chars: PositiveInt = 16_000
    max_images: PositiveInt = 8
    """New images per request (OpenAI's n)."""
    max_steps: PositiveInt = 100
    """num_inference_steps that a request may ask for."""
    other_sizes: Annotated[str, one_of("refuse", "scale")] = "refuse"
    """How to treat a requested size that the generator does not make, or that differs from its recipe's: refuse
    (400), or scale: make the image as if no size had been requested, then scale it to fit into that size."""

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
    """Return the key that clients have to send, from the environment. Raises ValueError if a needed one is missing."""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key and not config.is_loopback:
        raise ValueError(
            f"service.host is {config.host}, open to others: set the environment variable {config.api_key_env} to "
            "the key that clients have to send, or listen on 127.0.0.1"
        )
    if key and (why := why_no_key(key)):
        raise ValueError(f"service: the key in {config.api_key_env} {why}; set it again")
    return Secret(key) if key else None


def is_loopback(host: str | None) -> bool:
    """Whether a host is reachable only from this machine.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
