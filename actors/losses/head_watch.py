"""Whether Ray itself lives: its head and the raylet of this node, by the greeting that every gRPC server gives.

Ray's own libraries take a minute to miss a head, and end the process then without a line.
"""

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

OWN_PATIENCE_S = 15.0
"""How long a Ray on this machine may be silent."""
_EVERY_S = 1.0
_ASK_S = 4.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of HTTP/2 begins, with settings that say nothing (RFC 9113, 3.4): the server's own come back at once."""


@dataclass(frozen=True)
class Part:
    """A process of Ray's that a run cannot do without."""

    who: str
    address: str
    """host:port of its gRPC server."""
    patience_s: float = OWN_PATIENCE_S
    """How long it may be silent."""
    died: Callable[[], str] = str
    """Says how it ended; '' while it runs, and where that cannot be known."""


def greeting_of(address: str, timeout_s: float = _ASK_S) -> bytes:
    """Return how a server at host:port answers the beginning of HTTP/2; b"" if it says nothing, or nobody is there.

    Of a process that is stopped the kernel takes connections, no more. Not by gRPC's own client: a process that forks
    while it is in a call, as Ray does to start others, may hang.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout_s) as connection:
            connection.sendall(_PREFACE)
            return connection.recv(9)
    except OSError:
        return b""


def answers(address: str) -> bool:
    """Return whether a server is alive: whatever it says, even that it wants TLS."""
    return bool(greeting_of(address))


class HeadWatch:
    """Asks again and again, in a thread, until a part is lost: then says so, once."""

    def __init__(
        self,
        parts: Sequence[Part],
        on_lost: Callable[[str], None],
        *,
        ask: Callable[[str], bool] = answers,
        every_s: float = _EVERY_S,
    ):
        self._parts, self._on_lost, self._ask, self._every_s = parts, on_lost, ask, every_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch of Ray's head", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()

    def lost_now(self) -> str:
        """Return who does not live at this moment, and why; '' if all do."""
        for part in self._parts:
            if why := part.died():
                return f"{part.who} {why}"
            if not self._ask(part.address):
                return f"{part.who} does not answer"
        return ""

    def _watch(self) -> None:
        heard = dict.fromkeys(self._parts, time.monotonic())
        while not self._is_over.wait(self._every_s):
            began = time.monotonic()
            for part in self._parts:
                if why := part.died():
                    return self._on_lost(f"{part.who} {why}")
                if self._ask(part.address):
                    heard[part] = time.monotonic()
            silent_s = {part: time.monotonic() - at for part, at in heard.items() if at < began}
            if any(so_long > part.patience_s for part, so_long in silent_s.items()) and not self._is_over.is_set():
                return self._on_lost(_told(silent_s))


def _told(silent_s: Mapping[Part, float]) -> str:
    """Return who is silent, longest first: a head takes the raylet of its node along, which is missed sooner."""
    first, *others = sorted(silent_s, key=lambda part: -silent_s[part])
    also = "".join(f", nor {part.who} for {silent_s[part]:.0f} s" for part in others)
    return f"{first.who} has not answered for {silent_s[first]:.0f} s{also}"
