"""Listen for HTTP requests until told to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from actors.web.config import ServiceConfig

GRACE_S = 10
"""How long requests under way may take at the end."""


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # who stops the server also has a cluster to stop


@asynccontextmanager
async def listening(app: ASGIApp, config: ServiceConfig) -> AsyncIterator[str]:
    """Serve `app` and yield its URL. Raises ValueError where the address is not to be had."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        bound = socket.create_server((config.host, config.port), family=family, backlog=1024)
    except OSError as error:
        raise ValueError(f"cannot listen at {config.host}:{config.port}: {error}") from error
    host, port = bound.getsockname()[:2]
    server = _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            # Connections, not requests: those beyond the queue are to be told so.
            limit_concurrency=4 * config.max_pending + 64,
        )
    )
    serving = asyncio.create_task(server.serve([bound]))
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        bound.close()


async def until_stopped() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
