"""A real HTTP judge on loopback (OpenAI's chat completions) that misbehaves as it is told, and keeps a record."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

FAULT_OF = {
    "rate_limit": "rate_limit",
    "quota": "no_quota",
    "server_error": "server_error",
    "unauthorized": "unauthorized",
    "silence": "timeout",
    "dropped": "connection",
    "torn_body": "unreadable",
    "torn_answer": "unreadable",
    "prose": "unreadable",
    "too_high": "range",
    "nan": "range",
    "refusal": "refusal",
    "bad_request": "bad_request",
    "no_schema": "unstructured",
}
"""What each misbehaviour has to be counted as."""
TROUBLES = (
    "rate_limit",
    "server_error",
    "silence",
    "dropped",
    "torn_body",
    "torn_answer",
    "prose",
    "too_high",
    "nan",
    "refusal",
)
"""Misbehaviours that pass: what an endpoint does on a bad day."""


@dataclass(frozen=True)
class Asked:
    """One request, as the server saw it."""

    image: str
    """The last image's reference: `sha256:` of its PNG bytes."""
    num_images: int
    attempt: int
    """How often the same was asked before."""
    key: str
    has_schema: bool
    at: float
    behaviour: str = "good"

    @property
    def question(self) -> tuple[str, int]:
        """The judge asks two questions about an image, which differ in how many images they show."""
        return self.image, self.num_images


Plan = Callable[[Asked], str]
"""Names the behaviour: a key of `FAULT_OF`, or `good`."""


class MisbehavingJudge:
    """`with MisbehavingJudge(plan) as judge:` serves `judge.url` from a thread of its own."""

    def __init__(self, plan: Plan = lambda asked: "good", *, latency_s: float = 0.0, silence_s: float = 30.0):
        self.plan = plan
        self.latency_s = latency_s
        self.silence_s = silence_s
        self.retry_after_s = 0.05
        self.record: list[Asked] = []
        self.busy: Counter[str] = Counter()
        self.most_busy: Counter[str] = Counter()
        """Most requests at a time, by key."""
        self.tokens = [0, 0]
        """Input and output tokens of all completions sent."""
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> MisbehavingJudge:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def seen(self) -> int:
        """Return how many requests came."""
        return len(self.record)

    def served(self) -> Counter[str]:
        """Return how often each behaviour was shown."""
        return Counter(asked.behaviour for asked in self.record)

    def faults(self) -> Counter[str]:
        """Return the faults that a client has to have counted, by kind."""
        return Counter(FAULT_OF[asked.behaviour] for asked in self.record if asked.behaviour != "good")

    def answered(self) -> set[tuple[str, int]]:
        """Return the questions that got a good answer."""
        return {asked.question for asked in self.record if asked.behaviour == "good"}

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self._serve)
        # A silent answer must not hold up the end of a test, nor outlive its client.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        asked = self._read(await request.json(), request.headers["Authorization"].removeprefix("Bearer "))
        self.busy[asked.key] += 1
        self.most_busy[asked.key] = max(self.most_busy[asked.key], self.busy[asked.key])
        try:
            return await self._reply(request, asked)
        finally:
            self.busy[asked.key] -= 1

    def _read(self, body: dict[str, Any], key: str) -> Asked:
        urls = [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
        data = base64.b64decode(urls[-1].partition(",")[2]) if urls else b""
        image = f"sha256:{hashlib.sha256(data).hexdigest()}"
        number = self._attempts[image, len(urls)]
        self._attempts[image, len(urls)] += 1
        asked = Asked(image, len(urls), number, key, "response_format" in body, time.monotonic())
        asked = Asked(**asked.__dict__ | {"behaviour": self.plan(asked)})
        self.record.append(asked)
        return asked

    async def _reply(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        match asked.behaviour:
            case "silence":
                await asyncio.sleep(self.silence_s)
                request.transport.abort()
            case "dropped":
                request.transport.abort()
            case "rate_limit":
                return web.json_response({}, status=429, headers={"Retry-After": str(self.retry_after_s)})
            case "quota":
                return web.json_response({"error": {"message": "pay", "code": "insufficient_quota"}}, status=429)
            case "server_error":
                return web.json_response({}, status=500)
            case "unauthorized":
                return web.json_response({"error": {"message": "wrong key"}}, status=401)
            case "bad_request" | "no_schema":
                return web.json_response({"error": {"message": "I do not understand"}}, status=400)
            case "torn_body":
                return web.Response(text='{"choices": [{"mess', content_type="application/json")
            case _:
                await asyncio.sleep(self.latency_s)
                return self._completion(asked)
        return web.Response()  # goes nowhere

    def _completion(self, asked: Asked) -> web.Response:
        good = json.dumps({"reasoning": "seen", "score": scores_of(*asked.question)})
        text = {
            "torn_answer": good[:-4],
            "prose": f"I would say: {good}",
            "too_high": '{"reasoning": "superb", "score": [80, 7]}',
            "nan": '{"reasoning": "odd", "score": [NaN, 7]}',
        }.get(asked.behaviour, good)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if asked.behaviour == "refusal":
            message |= {"content": None, "refusal": "I cannot help with that"}
        usage = {"prompt_tokens": 500 * asked.num_images, "completion_tokens": 20}
        self.tokens[0] += usage["prompt_tokens"]
        self.tokens[1] += usage["completion_tokens"]
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


def scores_of(image: str, num_images: int) -> list[int]:
    """Return the scores that a good answer gives: by the image, so that a mix-up shows."""
    digest = hashlib.sha256(f"{image}{num_images}".encode()).digest()
    return [digest[0] % 11, digest[1] % 11]


def bad_days(share: float, troubles: tuple[str, ...] = TROUBLES) -> Plan:
    """Misbehave at a share of requests, drawn by question and attempt, never by time."""

    def plan(asked: Asked) -> str:
        digest = hashlib.sha256(f"{asked.question}{asked.attempt}".encode()).digest()
        is_bad = int.from_bytes(digest[:4]) < share * 2**32
        return troubles[digest[4] % len(troubles)] if is_bad else "good"

    return plan
