"""One reward function in its own process, which is killed if it hangs and restarted on the next call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from actors.user_functions.child import EVERY, LENGTH, REWARD, late
from rewards.compose import RewardError, TermConfig
from rewards.signature import RewardSignature

START_TIMEOUT_S = 120.0
"""Limit for importing the function's module, which may load a model."""
_GRACE_S = 1.0
"""An async function's process ends a late call itself; if it has not reported this by then, its loop is blocked."""


@dataclass(frozen=True)
class Started:
    """A process that has imported its function."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    hello: dict[str, Any]
    """Its first message (`actors.user_functions.child`)."""

    @property
    def traits(self) -> RewardSignature:
        return RewardSignature(self.hello["is_async"], tuple(self.hello["needs"]))

    def kill(self) -> None:
        """Kill it and all it has started; it may have ended already."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Kill it and close its channel; no call may be pending."""
        self.kill()
        self.channel.close()


def start(term: TermConfig, kind: str = REWARD) -> Started:
    """Start the process of a term; block until its module is imported. Raises `RewardError` if that fails."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-m", "actors.user_functions.child", str(theirs.fileno())]
    command += [term.fn, str(term.timeout_s)]
    with theirs:
        process = subprocess.Popen(
            [*command, str(os.getpid()), kind],
            pass_fds=[theirs.fileno()],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        hello = _hello(ours)
    except TimeoutError:
        hello = {"kind": "import", "error": f"not imported within {START_TIMEOUT_S:g} s"}
    if hello is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
        hello = {"kind": "import", "error": f"its process ended while importing it ({cause_of(process.returncode)})"}
    started = Started(process, ours, hello)
    if "error" in hello:
        started.close()
        raise RewardError(hello["kind"], term.fn, hello["error"])
    return started


def reward_names_in(module: str) -> tuple[list[str], dict[str, str]]:
    """Return the names of a module's or file's rewards, and of other functions with why they are none.

    Imports it in another process. Raises `RewardError`.
    """
    started = start(TermConfig(module + EVERY))
    started.close()
    return started.hello["names"], started.hello["others"]


def _hello(channel: socket.socket) -> dict[str, Any] | None:
    """Return the process's first message; None if it ended without one."""
    channel.settimeout(START_TIMEOUT_S)
    with channel.makefile("rb") as stream:
        head = stream.read(LENGTH.size)
        hello = json.loads(stream.read(*LENGTH.unpack(head))) if len(head) == LENGTH.size else None
    channel.settimeout(None)
    return hello


class _Gone(Exception):
    """The process was killed because of another call: ask the next process."""


class RewardProcess:
    """Awaitable: evidence -> float for a term, or images -> evidence for a look; for one event loop at a time."""

    def __init__(self, term: TermConfig, kind: str = REWARD):
        self.term, self.kind = term, kind
        self._starting: asyncio.Task[_Line] | None = None
        self._exchanges: set[asyncio.Task[object]] = set()

    async def start(self) -> RewardSignature:
        """Start the process unless it is running, and return its function's signature. Raises `RewardError`."""
        return (await self._line()).traits

    async def __call__(self, evidence: object) -> Any:
        """Return the function's result. Raises `RewardError`; cancelling it leaves the process as it is."""
        exchange = asyncio.create_task(self._exchange(evidence))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._done)
        return await asyncio.shield(exchange)

    def close(self) -> None:
        """Kill the process, if there is one."""
        if self._starting is not None and not _is_over(self._starting) and self._starting.done():
            self._starting.result().kill()

    async def _exchange(self, evidence: object) -> object:
        while True:
            line = await self._line()
            try:
                return await line.ask(evidence)
            except _Gone:
                continue

    async def _line(self) -> _Line:
        if self._starting is None or _is_over(self._starting):
            self._starting = asyncio.create_task(_connect(self.term, self.kind))
        return await asyncio.shield(self._starting)

    def _done(self, exchange: asyncio.Task[object]) -> None:
        self._exchanges.discard(exchange)
        if not exchange.cancelled():
            exchange.exception()  # marks it as retrieved: a cancelled caller does not


def _is_over(starting: asyncio.Task[_Line]) -> bool:
    return starting.done() and (starting.cancelled() or starting.exception() is not None or starting.result().is_gone)


async def _connect(term: TermConfig, kind: str) -> _Line:
    started = await asyncio.to_thread(start, term, kind)
    reader, writer = await asyncio.open_connection(sock=started.channel)
    return _Line(term, started, reader, writer)


class _Line:
    """The connection to one living process."""

    def __init__(self, term: TermConfig, started: Started, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._term, self._started, self._writer = term, started, writer
        self.traits = started.traits
        self.is_gone = False
        self._num_asked = 0
        self._waiting: dict[int, asyncio.Future[dict[str, object]]] = {}
        # A sync function takes one call at a time, so that a call's time does not run while another is executed.
        self._turn = asyncio.Lock() if not started.traits.is_async else contextlib.nullcontext()
        self._patience_s = term.timeout_s + (_GRACE_S if started.traits.is_async else 0.0)
        self._listening = asyncio.create_task(self._listen(reader))

    async def ask(self, evidence: object) -> object:
        async with self._turn:
            if self.is_gone:
                raise _Gone
            self._num_asked += 1
            number = self._num_asked
            answer = self._waiting[number] = asyncio.get_running_loop().create_future()
            message = pickle.dumps((number, evidence), pickle.HIGHEST_PROTOCOL)
            self._writer.write(LENGTH.pack(len(message)) + message)
            try:
                async with asyncio.timeout(self._patience_s):
                    given = await answer
            except TimeoutError:
                self._waiting.pop(number, None)
                self.kill()
                raise RewardError("hung", self._term.fn, late(self._term.timeout_s)) from None
        if "error" in given:
            raise RewardError(given["kind"], self._term.fn, given["error"])
        return given["value"]

    def kill(self) -> None:
        """Kill the process; callers that wait for another answer ask again."""
        self._end(_Gone())

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                size = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                given = json.loads(await reader.readexactly(*size))
                waiting = self._waiting.pop(given["id"], None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(given)
        except (asyncio.IncompleteReadError, ConnectionError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(self._started.process.wait, _GRACE_S)
            cause = cause_of(self._started.process.returncode)
            self._end(RewardError("died", self._term.fn, f"its process died ({cause})"))
        finally:  # also when the loop is being shut down
            self._end(_Gone())

    def _end(self, error: Exception) -> None:
        if self.is_gone:
            return
        self.is_gone = True
        self._started.kill()
        self._writer.transport.abort()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)
        self._waiting.clear()


def child_environment() -> dict[str, str]:
    """Return the environment of a child that finds the modules that this process finds, in the same order."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


def cause_of(code: int | None) -> str:
    """Return why a process ended, by its exit code."""
    if code is None:
        return "it closed its socket"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
