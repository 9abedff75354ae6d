"""Connections to a real server on loopback that ask for nothing, or do not take what they asked for."""

import asyncio
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from actors.web import connections, http_input
from actors.web.config import ServiceConfig
from actors.web.connections import MAX_HEAD_BYTES, BoundedConnection
from actors.web.service import build_app
from actors.web.serving import listening
from tests.support.image_service import EDIT, service_of

pytestmark = pytest.mark.timeout(60)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


async def hello(request):
    return PlainTextResponse("hello")


def served(scenario, route=hello, **limits):
    """Return what `scenario(url, connect)` comes to while an application of one route is served."""

    async def run():
        app = Starlette(routes=[Route("/", route, methods=["GET", "POST"])])
        async with listening(app, ServiceConfig(port=0, **limits)) as url:
            port = int(url.rpartition(":")[2])
            return await scenario(url, lambda: asyncio.open_connection("127.0.0.1", port))

    return asyncio.run(run())


async def is_healthy(url) -> bool:
    async with httpx.AsyncClient(base_url=url) as client:
        return (await client.get("/")).text == "hello"


@pytest.mark.slow
def test_idle_connections_refuse_nobody_and_are_closed():
    """Slow: it waits until connections are closed."""

    async def scenario(url, connect):
        idle = [await connect() for _ in range(200)]  # far more than the queue is long
        while_they_are_held = await is_healthy(url)
        said = await asyncio.gather(*(reader.read() for reader, _ in idle))
        return while_they_are_held, set(said)

    assert served(scenario, max_pending=1, head_timeout_s=0.5) == (True, {b""})


def test_a_head_that_comes_by_and_by_is_not_waited_for():
    async def scenario(url, connect):
        reader, writer = await connect()
        writer.write(GET + b"X-Slow: ")

        async def drip():
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        try:
            return await reader.read()
        except ConnectionResetError:  # closed while there was something to read
            return b""
        finally:
            dripping.cancel()

    assert served(scenario, head_timeout_s=0.3) == b""


def test_the_next_head_of_a_kept_connection_is_not_waited_for_either():
    async def scenario(url, connect):
        reader, writer = await connect()
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"hello")
        writer.write(GET)
        return await reader.read()

    assert served(scenario, head_timeout_s=0.3) == b""


def test_a_body_that_nobody_wants_does_not_hold_its_connection():
    async def scenario(url, connect):
        reader, writer = await connect()
        writer.write(GET + b"Content-Length: 1000000\r\n\r\na")
        await reader.readuntil(b"hello")

        async def drip():
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            dripping.cancel()

    assert served(scenario, head_timeout_s=0.3) == b""


def test_an_endless_head_is_refused():
    async def scenario(url, connect):
        reader, writer = await connect()
        writer.write(GET)
        for _ in range(MAX_HEAD_BYTES // 1000 + 1):
            writer.write(b"X-Long: " + b"a" * 1000 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0)
        return await reader.readline(), await is_healthy(url)

    assert served(scenario) == (b"HTTP/1.1 400 Bad Request\r\n", True)


def test_the_connection_that_waited_longest_makes_room(monkeypatch):
    monkeypatch.setattr(connections, "MAX_WAITING", 3)

    async def scenario(url, connect):
        (first, _), *others = [await connect() for _ in range(4)]
        said = await first.read()
        reader, writer = others[-1]
        writer.write(GET + b"\r\n")
        await reader.readuntil(b"hello")
        return said

    assert served(scenario) == b""


def test_an_answer_that_nobody_takes_is_given_up():
    ended = asyncio.Event()

    async def endless(request):
        async def pieces():
            try:
                while True:
                    yield b"a" * 2**20
                    await asyncio.sleep(0)
            finally:
                ended.set()

        return StreamingResponse(pieces())

    async def scenario(url, connect):
        _, writer = await connect()
        writer.write(GET + b"\r\n")
        await ended.wait()
        return True

    assert served(scenario, endless, upload_timeout_s=0.3)


@pytest.mark.slow
def test_an_answer_that_is_taken_slowly_is_sent_to_its_end():
    """Slow: what is slow has to be waited for."""

    async def large(request):
        return PlainTextResponse("a" * (8 * 2**20))

    async def scenario(url, connect):
        reader, writer = await connect()
        writer.write(GET + b"Connection: close\r\n\r\n")
        num_read = 0
        while piece := await reader.read(2**20):
            num_read += len(piece)
            await asyncio.sleep(0.05)  # longer in all than nothing may be taken for
        return num_read

    assert served(scenario, large, upload_timeout_s=1.0) > 8 * 2**20


def test_answers_leave_without_delay(monkeypatch):
    options = []

    def connection_made(self, transport):
        made(self, transport)
        options.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    made = BoundedConnection.connection_made
    monkeypatch.setattr(BoundedConnection, "connection_made", connection_made)

    async def scenario(url, connect):
        return await is_healthy(url)

    assert served(scenario)
    assert all(options)


UPLOAD = b"POST /edit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n"


@pytest.mark.slow
def test_slow_uploads_take_nobodys_place(tmp_path):
    """Slow: what is slow has to be waited for."""

    async def scenario():
        service = service_of(tmp_path, port=0, max_pending=1, upload_timeout_s=0.5)
        async with listening(build_app(service, None), service.config) as url:
            slow = [await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2])) for _ in range(20)]
            for _, writer in slow:
                writer.write(UPLOAD + b"{")
            async with httpx.AsyncClient(base_url=url) as client:
                answered = await client.post("/edit", json=EDIT)
            return answered.status_code, {(await reader.read())[:12] for reader, _ in slow}

    assert asyncio.run(scenario()) == (200, {b"HTTP/1.1 408"})


def test_uploads_are_bounded_together(tmp_path):
    async def scenario():
        service = service_of(tmp_path, port=0, max_body_mib=4, max_reading_mib=4, upload_timeout_s=30)
        async with listening(build_app(service, None), service.config) as url:
            uploads = [await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2])) for _ in range(2)]
            for _, writer in uploads:
                writer.write(UPLOAD + b" " * 2_500_000)
            first, _ = await asyncio.wait(
                [asyncio.create_task(reader.readuntil(b"\r\n\r\n")) for reader, _ in uploads],
                return_when=asyncio.FIRST_COMPLETED,
            )
            (refused,) = (task.result() for task in first)
            for _, writer in uploads:
                writer.write(b" " * 500_000)
            return refused

    refused = asyncio.run(scenario())
    assert refused.startswith(b"HTTP/1.1 429 ")
    assert b"retry-after: 1" in refused.lower()
    assert http_input._READING["bytes"] == 0
