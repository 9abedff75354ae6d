"""Whether Ray itself lives: its head and the raylet of this node, by the health check that its nodes are asked, too.

Ray's own libraries take a minute to miss a head, and end the process then without a line.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc

OWN_PATIENCE_S = 15.0
"""How long a Ray on this machine may be silent."""
_EVERY_S = 1.0
_ASK_S = 4.0
_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


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


def answers(address: str, timeout_s: float = _ASK_S) -> bool:
    """Return whether a gRPC server is alive: whatever it says to a health check, even that it knows none."""
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code() not in _SILENT
    return True


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
        heard = dict.fromkeys(range(len(self._parts)), time.monotonic())
        while not self._is_over.wait(self._every_s):
            for number, part in enumerate(self._parts):
                if why := part.died():
                    return self._on_lost(f"{part.who} {why}")
                if self._ask(part.address):
                    heard[number] = time.monotonic()
                elif (silent_s := time.monotonic() - heard[number]) > part.patience_s and not self._is_over.is_set():
                    return self._on_lost(f"{part.who} has not answered for {silent_s:.0f} s")
