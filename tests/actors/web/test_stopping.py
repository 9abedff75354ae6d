"""A service that stops: who waits is told so, a story ends with its last event, and nothing is printed."""

import asyncio
import os
import signal
import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from actors.store.store import Store
from actors.storyteller import Storyteller
from actors.web import serving
from actors.web.config import ServiceConfig
from actors.web.service import STOPPED, build_app
from actors.web.serving import listening, until_stopped
from actors.web.story_route import PATH, story_route
from tests.support.image_service import EDIT, service_of
from tests.support.storytelling import StorePainter, events, storyline

pytestmark = pytest.mark.timeout(60)


class Stuck(StorePainter):
    """Draws the first image; the second one takes for ever."""

    def __init__(self, store):
        super().__init__(store)
        self.is_stuck, self.was_cancelled = asyncio.Event(), False

    async def edit(self, request):
        if self.requests:
            self.is_stuck.set()
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
        return await super().edit(request)


@pytest.fixture(autouse=True)
def short_grace(monkeypatch):
    monkeypatch.setattr(serving, "GRACE_S", 0.1)


def stopped(app, ask, until):
    """Return what `ask(client, url)` comes to where the service stops once `until` is set, and how long that took."""

    async def scenario():
        async with httpx.AsyncClient(timeout=30) as client:
            async with listening(app, ServiceConfig(port=0)) as url:
                asking = asyncio.create_task(ask(client, url))
                await until.wait()
                began = time.monotonic()
            return await asking, time.monotonic() - began

    return asyncio.run(scenario())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_story_in_flight_ends_with_its_last_event(tmp_path, capfd, number):
    generator = Stuck(Store(tmp_path))
    app = Starlette(routes=[story_route(Storyteller(storyline(generator=generator), generator.store))])

    async def scenario():
        async with httpx.AsyncClient(timeout=30) as client:
            async with listening(app, ServiceConfig(port=0)) as url:
                asking = asyncio.create_task(client.post(url + PATH, json={"prompt": "a cat"}))
                stopping = asyncio.create_task(until_stopped())
                await generator.is_stuck.wait()
                os.kill(os.getpid(), number)
                await stopping
            return events(await asking)

    told = asyncio.run(scenario())
    assert [name for name, _ in told] == ["plan", "step", "story"]
    story = told[-1][1]
    assert (story["status"], story["error"], len(story["steps"])) == ("telling", STOPPED, 1)
    assert generator.was_cancelled
    assert capfd.readouterr() == ("", "")


def test_a_story_that_has_no_plan_yet_ends_alike(tmp_path, capfd):
    is_asked = asyncio.Event()

    class Pensive:
        async def plan(self, *_):
            is_asked.set()
            await asyncio.sleep(1000)

    line = storyline()
    object.__setattr__(line, "planner", Pensive())
    app = Starlette(routes=[story_route(Storyteller(line, Store(tmp_path)))])

    async def ask(client, url):
        return events(await client.post(url + PATH, json={"prompt": "a cat"}))

    ((name, story),), _ = stopped(app, ask, is_asked)
    assert (name, story["status"], story["plan"], story["error"]) == ("story", "telling", None, STOPPED)
    assert capfd.readouterr() == ("", "")


def test_an_edit_in_flight_and_half_an_upload_are_told_so(tmp_path, capfd):
    service, is_asked = service_of(tmp_path), asyncio.Event()

    async def make(image_request):
        is_asked.set()
        await asyncio.sleep(1000)

    service.make = make

    async def ask(client, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /edit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        answer = await client.post(f"{url}/v1/images/generations", json={"prompt": "abc"})
        return answer, await reader.read()

    (edit, upload), _ = stopped(build_app(service, None), ask, is_asked)
    assert (edit.status_code, edit.json()["error"]["message"]) == (503, STOPPED)
    assert upload.startswith(b"HTTP/1.1 503 ")
    assert STOPPED.encode() in upload
    assert service.num_pending == 0
    assert capfd.readouterr() == ("", "")


def test_what_is_done_within_the_grace_is_answered(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "GRACE_S", 30.0)
    service, is_asked = service_of(tmp_path), asyncio.Event()
    make = service.make

    async def slowly(image_request):
        is_asked.set()
        await asyncio.sleep(0.2)
        return await make(image_request)

    service.make = slowly

    async def ask(client, url):
        return await client.post(f"{url}/edit", json=EDIT)

    answer, seconds = stopped(build_app(service, None), ask, is_asked)
    assert (answer.status_code, answer.json()["success"]) == (200, True)
    assert seconds < 20  # not the whole of it


def test_a_client_that_does_not_read_holds_nobody_up(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(serving, "LAST_WORDS_S", 0.2)
    is_full = asyncio.Event()

    async def endless(request):
        async def pieces():
            while True:
                yield b"a" * 2**20
                asyncio.get_running_loop().call_soon(is_full.set)
                await asyncio.sleep(0)

        return StreamingResponse(pieces())

    async def ask(client, url):
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return writer

    _, seconds = stopped(Starlette(routes=[Route("/", endless)]), ask, is_full)
    assert seconds < 5
    assert capfd.readouterr() == ("", "")
