"""Pages for the person at this machine alone: a server on its loopback address, behind a token that stands in the URL.

Whoever knows the token may read, as with Jupyter; other users of the machine, and web pages that are open in the same
browser, do not know it. A page may load nothing but what this server sends, and cannot be put into another page.
"""

import hmac
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from urllib.parse import parse_qsl

from actors.notice import notify

HOST = "127.0.0.1"
_NAMES = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")
"""Hosts that a browser on this machine, or at the other end of a tunnel, may ask for: a stranger's name that resolves
to the loopback address is refused (DNS rebinding)."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_IDLE_S = 30.0
"""A connection that says nothing for so long is closed."""


@dataclass(frozen=True)
class Reply:
    """What a request is answered with."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    is_fixed: bool = False
    """The same address will always be answered so: a browser may keep it."""


Answer = Callable[[str, Mapping[str, str]], Reply | None]
"""Answers a path below the token, without a slash in front, and its query; None: there is no such thing."""


class LoopbackServer(ThreadingHTTPServer):
    """Serves what `answer` says to GET and HEAD; a thread a connection."""

    daemon_threads = True

    def __init__(self, answer: Answer, *, port: int = 0, token: str = ""):
        """Listen on a port, 0 for a free one. Raises ValueError for one that is taken."""
        self.answer = answer
        self.token = token or secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            told = getattr(error, "strerror", None) or str(error)
            raise ValueError(
                f"port {port} of {HOST} cannot be served: {told}; choose another, or 0 for a free one"
            ) from None

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: object) -> None:
        """Say nothing of a browser that has gone before it was answered, as when a page is loaded again."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Where the page is, token included."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server_version, sys_version = "interleave", ""

    def do_GET(self) -> None:
        self._send(self._reply())

    do_HEAD = do_GET

    def _reply(self) -> Reply:
        if _NAMES.fullmatch(self.headers.get("Host", "")) is None:
            return Reply(b"this server answers to 127.0.0.1 and localhost alone\n", status=403)
        address, _, query = self.path.partition("?")
        token, slash, path = address.removeprefix("/").partition("/")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            return Reply(b"open the whole address that the command printed: it ends with a token\n", status=403)
        try:
            reply = self.server.answer(path, dict(parse_qsl(query))) if slash else None
        except Exception as error:  # what a run left in its folder may be anything
            notify(f"{path} was not answered: {type(error).__name__}: {error}")
            return Reply(b"this could not be read; the command's terminal says why\n", status=500)
        return reply or Reply(b"there is no such page\n", status=404)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", "private, max-age=86400, immutable" if reply.is_fixed else "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal is the run's user's, and addresses hold the token."""
