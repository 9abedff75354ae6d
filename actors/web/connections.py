"""Connections that cannot be held idle: each has to send a request soon, and to read its answer."""

import asyncio
import socket
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Size limit of a request line with headers."""
MAX_WAITING = 1000
"""Connections without a request; beyond this the one that has waited longest is closed."""


class ServerConfig(uvicorn.Config):
    """Uvicorn's settings and those of `BoundedConnection`."""

    def __init__(self, app: Any, *, head_timeout_s: float, stall_timeout_s: float, **settings: Any):
        super().__init__(app, http=BoundedConnection, ws="none", **settings)
        self.head_timeout_s = head_timeout_s
        """Maximum time for a connection to send a request's head."""
        self.stall_timeout_s = stall_timeout_s
        """Maximum time for a client to read no byte of an answer."""
        self.waiting: dict[BoundedConnection, None] = {}
        """Connections without a request, oldest first."""


class BoundedConnection(HttpToolsProtocol):
    """Closed when no request's head arrives in time, or its answer is not read; answers are sent without delay."""

    config: ServerConfig

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._is_in_head, self._num_head_bytes = False, 0
        bound = transport.get_extra_info("socket")
        # Asyncio does so only for sockets made with an explicit protocol number; otherwise the end of an answer waits
        # 40 ms for the client's delayed acknowledgement of its beginning.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._is_in_head:
            self._num_head_bytes += len(data)
            if self._num_head_bytes > MAX_HEAD_BYTES:
                self.send_400_response(f"The head of the request has more than {MAX_HEAD_BYTES} bytes.")
        # Further bytes do not restart a running timer. The rest of a body after its answer starts one, too.
        if self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait_for_head()

    def on_message_begin(self) -> None:
        self._is_in_head, self._num_head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._mark_waiting()  # for at most uvicorn's keep-alive time

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_stall(None)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._cancel_stall()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.config.head_timeout_s, self._give_up_head)
        self._mark_waiting()

    def _give_up_head(self) -> None:
        self._head_timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _mark_waiting(self) -> None:
        waiting = self.config.waiting
        waiting[self] = None
        if len(waiting) > MAX_WAITING:
            next(iter(waiting)).transport.close()

    def _stop_waiting(self) -> None:
        self.config.waiting.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _watch_stall(self, num_left: int | None) -> None:
        """Close the connection if the client has read nothing since the last check."""
        left = self.transport.get_write_buffer_size()
        if num_left is not None and left >= num_left:
            self.transport.abort()
            return
        self._stall_timer = self.loop.call_later(self.config.stall_timeout_s, self._watch_stall, left)

    def _cancel_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
