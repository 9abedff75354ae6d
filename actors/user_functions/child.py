"""The process that runs one user-defined reward function: reads evidence from a socket, answers with a number.

    in    pickle of (id, evidence)
    out   json: first {"is_async", "needs"} or {"kind", "error"}, then {"id", "value"} or {"id", "kind", "error"}

For a module instead of a function (`my_rewards.*`), the only answer is the names of its rewards and of other functions.
Each message is preceded by its length in 4 bytes. It imports nothing heavy, so that a killed child is
replaced within half a second.
"""

import asyncio
import json
import os
import pickle
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from rewards.compose import RewardError, RewardFunction, checked, import_function, raised
from rewards.functions.evidence_loader import as_json, load_evidence_function
from rewards.functions.import_path import FunctionError, load_module
from rewards.signature import no_rewards, reward_names, signature_of

LENGTH = struct.Struct(">I")
REWARD, LOOK = "reward", "look"
"""Kinds of functions: evidence -> number, or images and text -> evidence (`rewards.functions.evidence_loader`)."""
EVERY = ".*"
"""After a module's or file's name: all of its rewards."""


def main(handle: int, fn: str, timeout_s: float, parent: int, kind: str) -> None:
    """Import the function, describe it, and answer requests until the parent is gone."""
    die_with(parent)
    os.dup2(2, 1)  # the function's prints go to stderr
    channel = socket.socket(fileno=handle)
    try:
        if fn.endswith(EVERY):
            module = load_module(fn.removesuffix(EVERY))
            channel.sendall(_framed({"names": reward_names(module), "others": no_rewards(module)}))
            return
        if kind == LOOK:
            look = load_evidence_function(fn)
            channel.sendall(_framed({"is_async": False, "needs": []}))
            _answer_in_turn(channel, lambda seen: as_json(look(*seen)))
            return
        function = import_function(fn)
        traits = signature_of(function)
    except FunctionError as error:
        channel.sendall(_framed({"kind": "import", "error": str(error)}))
        return
    except RewardError as error:
        channel.sendall(_framed({"kind": error.kind, "error": error.detail}))
        return
    except BaseException as error:  # SystemExit at import is the module's fault too
        channel.sendall(_framed({"kind": "import", "error": f"its module {raised(error)}"}))
        return
    channel.sendall(_framed({"is_async": traits.is_async, "needs": traits.needs}))
    if traits.is_async:
        asyncio.run(_answer_many(channel, function, fn, timeout_s))
    else:
        _answer_in_turn(channel, lambda evidence: checked(function(evidence), fn))


def _answer_in_turn(channel: socket.socket, function: Callable[[Any], object]) -> None:
    with channel.makefile("rb") as stream:
        while head := stream.read(LENGTH.size):
            number, evidence = pickle.loads(stream.read(*LENGTH.unpack(head)))
            try:
                answer: dict[str, Any] = {"value": function(evidence)}
            except BaseException as error:
                answer = _excuse(error)
            channel.sendall(_framed({"id": number, **answer}))


async def _answer_many(channel: socket.socket, function: RewardFunction, fn: str, timeout_s: float) -> None:
    reader, writer = await asyncio.open_connection(sock=channel)

    async def answer(number: int, evidence: Any) -> None:
        given: dict[str, Any]
        deadline = asyncio.timeout(timeout_s)
        try:
            async with deadline:
                given = {"value": checked(await function(evidence), fn)}
        except BaseException as error:
            given = {"kind": "hung", "error": late(timeout_s)} if deadline.expired() else _excuse(error)
        writer.write(_framed({"id": number, **given}))

    running: set[asyncio.Task[None]] = set()
    while True:
        try:
            (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            number, evidence = pickle.loads(await reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        task = asyncio.create_task(answer(number, evidence))
        running.add(task)
        task.add_done_callback(running.discard)


def late(timeout_s: float) -> str:
    return f"no answer within {timeout_s:g} s"


def _excuse(error: BaseException) -> dict[str, str]:
    if isinstance(error, RewardError):
        return {"kind": error.kind, "error": error.detail}
    return {"kind": "raised", "error": raised(error)}


def _framed(answer: dict[str, object]) -> bytes:
    text = json.dumps(answer).encode()
    return LENGTH.pack(len(text)) + text


def die_with(parent: int) -> None:
    """Have the kernel kill this process with its parent, however that ends and whatever runs here."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
