"""A free question to each endpoint of a generator behind HTTP before anything starts: is it there, is the key right?

No image is asked for, since that would be paid: the list of models is, or what a service of our own says it can do.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

from actors.generator.api import endpoints_of, http_kind
from actors.generator.config import GeneratorConfig
from actors.generator.kind import kind_of, resolve
from actors.judge.probe import Probe, check_answers
from actors.metered.connections import Secret, read_key
from actors.metered.endpoints import Endpoint
from actors.metered.http_faults import fault_at
from actors.metered.retry import Fault

_TOLD = frozenset({"unreachable", "connection", "unauthorized", "timeout", "rate_limit", "server_error"})
"""Faults that a free question can find: not every endpoint has a list of models (404), or shows it to every key."""
_LIMITED_KEY = "scope"
"""In what an endpoint says of a key that may make images, and not list models."""


@dataclass(frozen=True)
class _Look(Probe):
    is_ours: bool

    def key(self) -> Secret:
        return read_key(self.endpoint.api_key_env, self.judge) if self.endpoint.api_key_env else Secret("none")

    async def _ask(self, connected: Endpoint) -> Fault | None:
        try:
            await connected.connection.get("/status" if self.is_ours else "/models", cast_to=object)
        except Exception as error:
            fault = fault_at(connected, error)
            is_limited = fault.kind == "unauthorized" and _LIMITED_KEY in fault.error
            return fault if self.is_ours or (fault.kind in _TOLD and not is_limited) else None
        return None


async def probe_generator(config: GeneratorConfig) -> None:
    """Ask each endpoint of a generator once, all at once. Raises ValueError with a line for each that cannot work.

    One that is slow or overloaded is told on stderr. With `probe` off, and where nothing is behind HTTP or the run
    serves it itself, nothing is asked.
    """
    looks = list(_looks(resolve(config))) if config.probe and kind_of(config).has_prices else []
    check_answers(list(zip(looks, await asyncio.gather(*(look.ask() for look in looks)), strict=True)))


def _looks(config: GeneratorConfig) -> Iterator[_Look]:
    if config.server.command:
        return
    is_ours = http_kind(config).is_ours
    for number, endpoint in enumerate(endpoints_of(config)):
        key = endpoint.api_key_env or ("" if is_ours else "OPENAI_API_KEY")
        where = f"generator.endpoints.{number}" if config.endpoints else "generator"
        yield _Look("generator", where, replace(endpoint, api_key_env=key), {}, False, is_ours)
