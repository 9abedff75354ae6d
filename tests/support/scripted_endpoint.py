"""An HTTP server on loopback that answers each request by a function of its body, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Reply = Callable[[dict[str, Any]], tuple[int, Any]]
"""From a request's JSON to a status and a body: an object that is sent as JSON, or a text."""

GOOD = {"reasoning": "seen", "score": [7, 8]}


def completion(content: Any, *, finish: str = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    """Return a chat completion with this content."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion", "choices": [choice]} | ({} if usage is None else {"usage": usage})


@dataclass
class ScriptedEndpoint:
    """`async with ScriptedEndpoint(reply) as server:` serves `server.url`; each request is held for `delay_s`."""

    reply: Reply = lambda body: (200, completion(json.dumps(GOOD)))
    delay_s: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)
    num_busy: int = 0
    most_busy: int = 0
    """Most requests at a time."""

    async def __aenter__(self) -> ScriptedEndpoint:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length:")[1].split("\r\n")[0])
        body = json.loads(await reader.readexactly(length))
        self.asked.append(body)
        self.num_busy += 1
        self.most_busy = max(self.most_busy, self.num_busy)
        await asyncio.sleep(self.delay_s)
        self.num_busy -= 1
        status, said = self.reply(body)
        text = said if isinstance(said, str) else json.dumps(said)
        kind = "text/html" if text.startswith("<") else "application/json"
        data = text.encode()
        head = (
            f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + data)
        await writer.drain()
        writer.close()
