"""Listen for HTTP requests until told to stop."""

import asyncio
import math
import resource
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from actors.bound_address import why_not_bound
from actors.web.config import ServiceConfig
from actors.web.connections import ServerConfig
from actors.web.stopping import STOPPING

GRACE_S = 1.0
"""How long requests under way may go on when the service stops; unfinished ones are then answered with an error."""
LAST_WORDS_S = 1.0
"""How long clients may take to receive it."""
MAX_FILES = 65536
"""Limit of open files, connections included, to set for this process if the system allows it."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the caller handles signals, since it also has a cluster to stop


def check_address(config: ServiceConfig) -> None:
    """Raise ValueError if the service's address is not available."""
    _bound(config).close()


def _bound(config: ServiceConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family, backlog=1024)
    except OSError as error:
        why = why_not_bound(error, host_key="service.host", port_key="service.port")
        raise ValueError(f"cannot listen on {config.host}:{config.port}: {why}") from error


@asynccontextmanager
async def listening(app: ASGIApp, config: ServiceConfig) -> AsyncIterator[str]:
    """Serve `app` and yield its URL. Raises ValueError if the address is not available."""
    bound = _bound(config)
    host, port = bound.getsockname()[:2]
    _allow_files()
    stopping = asyncio.Event()
    server = _Server(
        ServerConfig(
            _with_stop_event(stopping, app),
            head_timeout_s=config.head_timeout_s,
            stall_timeout_s=config.upload_timeout_s,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(GRACE_S + LAST_WORDS_S) + 1,
        )
    )
    serving = asyncio.create_task(server.serve([bound]))
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        await _stop(server, serving, stopping)
        bound.close()


async def _stop(server: uvicorn.Server, serving: asyncio.Task[None], stopping: asyncio.Event) -> None:
    """Let requests finish; then answer them with an error; then close their connections."""
    server.should_exit = True
    await asyncio.wait({serving}, timeout=GRACE_S)
    stopping.set()
    await asyncio.wait({serving}, timeout=LAST_WORDS_S)
    for connection in list(server.server_state.connections):
        connection.transport.abort()
    await asyncio.gather(serving, return_exceptions=True)


def _with_stop_event(stopping: asyncio.Event, app: ASGIApp) -> ASGIApp:
    """Return the application with `stopping` in each request's scope (`actors.web.stopping`)."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, STOPPING: stopping}, receive, send)

    return serve


def _allow_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM, then restore the previous handlers."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
