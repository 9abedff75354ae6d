"""`POST /v1/interleave` on fakes: what is streamed when, and that a hostile request is refused before it costs."""

import asyncio
import base64
import io
import struct
import zlib
from functools import partial

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from actors.metered.connections import Secret
from actors.store.store import Store
from actors.storyteller import Storyteller
from actors.web import story_route as module
from actors.web.config import ServiceConfig
from actors.web.service import CLIENT_CLOSED_REQUEST, openai_error, require_key
from actors.web.story_route import LARGE_IMAGES, PATH, story_route
from rollout.story_json import SCHEMA
from tests.support.fakes import FakeGenerator
from tests.support.storytelling import CAT, Script, StorePainter, Stumbling, accept, events, reject, storyline


@pytest.fixture
def client(tmp_path):
    store = Store(tmp_path)
    line = storyline(Script(reject("again"), accept()), generator=StorePainter(store))
    with TestClient(Starlette(routes=[story_route(Storyteller(line, store))])) as client:
        vars(client).update(store=store, generator=line.generator)
        yield client


def png(size=(4, 4)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def bomb(side: int) -> str:
    """A PNG of a few bytes that says it has side^2 pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return base64.b64encode(data + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))).decode()


def test_steps_are_streamed_and_the_last_event_has_everything(client):
    response = client.post(PATH, json={"prompt": "a cat"})
    assert response.headers["content-type"].startswith("text/event-stream")
    told = events(response)
    assert [name for name, _ in told] == ["plan", "step", "step", "story"]
    step = told[1][1]
    assert (step["status"], step["chosen"], len(step["tries"])) == ("accepted", 2, 2)
    assert base64.b64decode(step["image"]) == client.store.png_bytes(step["image_ref"])
    story = told[-1][1]
    assert (story["schema"], story["status"]) == (SCHEMA, "done")
    assert story["steps"][0]["image"] == step["image_ref"]


def test_input_images_seed_and_tries_are_handed_on(client):
    body = {"prompt": "go on", "images": [png(), f"data:image/png;base64,{png((5, 5))}"], "seed": 3, "tries": 1}
    story = events(client.post(PATH, json=body))[-1][1]
    assert (story["request"]["seed"], story["request"]["mode"]) == (3, "guidance")
    assert [len(step["tries"]) for step in story["steps"]] == [1, 1]
    assert client.store.get_image(client.generator.requests[0].image).size == (5, 5)


def test_a_story_that_fails_ends_with_its_status(tmp_path):
    line = storyline(Script(accept()), generator=Stumbling("draw a head"))
    app = Starlette(routes=[story_route(Storyteller(line, Store(tmp_path)))])
    name, story = events(TestClient(app).post(PATH, json={"prompt": "a cat"}))[-1]
    assert (name, story["status"]) == ("story", "incomplete")
    assert story["error"].startswith("step 1 has no image")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("no", 400, "not JSON"),
        ("[" * 100_000, 400, "not JSON"),
        ([], 400, "found a list"),
        ({}, 400, "prompt is missing or empty"),
        ({"prompt": " "}, 400, "prompt is missing or empty"),
        ({"prompt": 3}, 400, "prompt: expected a text, found a number"),
        ('{"prompt": "\\ud800"}', 400, "prompt holds half a character"),
        ({"prompt": "a" * 2**20}, 400, "1,048,576 characters"),
        ({"prompt": "a", "model": "x"}, 400, "unknown fields"),
        ({"prompt": "a", "images": "a.png"}, 400, "expected a list"),
        ({"prompt": "a", "images": [png()] * 17}, 400, "at most 16"),
        ({"prompt": "a", "images": ["/etc/passwd"]}, 400, "images[0]: expected the image's bytes"),
        ({"prompt": "a", "images": ["http://127.0.0.1/a.png"]}, 400, "paths and URLs are not opened"),
        ({"prompt": "a", "images": [base64.b64encode(b"text").decode()]}, 400, "images[0]: expected a PNG, JPEG, WEBP"),
        ({"prompt": "a", "images": [png(), 7]}, 400, "images[1]: expected the image's bytes"),
        ({"prompt": "a", "images": [bomb(100_000)]}, 400, "images[0]: the image has more pixels"),
        ({"prompt": "a", "images": [bomb(8192)]}, 400, "images[0]: the image has 8192x8192 pixels"),
        (
            {"prompt": "a", "images": [png((4096, 1))]},
            400,
            "images[0]: expected sides of a ratio up to 200, found 4096x1",
        ),
        ({"prompt": "a<|image_pad|>"}, 400, "prompt holds <|image_pad|>, which models read as a control token"),
        ('{"prompt": "a", "images": [' + "[]," * 200_000 + "[]]}", 400, "more than 100,000 lists"),
        ({"prompt": "a", "seed": -1}, 400, "seed is '-1'"),
        ({"prompt": "a", "tries": 99}, 400, "at most 16"),
        ({"prompt": "a", "tries": True}, 400, "tries is 'True'"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_hostile_request_is_refused_and_changes_nothing(client, body, status, message):
    response = client.post(PATH, content=body) if isinstance(body, str) else client.post(PATH, json=body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
    assert client.generator.requests == []
    assert not list(client.store.root.iterdir())


def limited(client, **limits) -> TestClient:
    """Return a client of the same storyteller behind other limits."""
    storyteller = Storyteller(storyline(Script(accept()), generator=client.generator), client.store)
    return TestClient(Starlette(routes=[story_route(storyteller, config=ServiceConfig(**limits))]))


def test_images_are_bounded_each_and_together(client):
    with limited(client, max_pixels=100) as limited_client:

        def told(*sizes):
            body = {"prompt": "a", "images": [png(size) for size in sizes]}
            return limited_client.post(PATH, json=body)

        assert "10x11 pixels, more than the 100" in told((10, 11)).json()["error"]["message"]
        refused = told(*[(10, 10)] * LARGE_IMAGES, (1, 1))
        assert refused.status_code == 400
        assert "images[2]: the images have more than the 200 pixels" in refused.json()["error"]["message"]
        assert not list(client.store.root.iterdir())
        assert events(told(*[(10, 10)] * LARGE_IMAGES))[-1][1]["status"] == "done"


def test_images_are_turned_upright_and_lie_over_white_as_those_of_edits(client):
    turned, clear = io.BytesIO(), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.new("RGB", (8, 4), "red").save(turned, format="JPEG", exif=exif)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(clear, format="PNG")
    images = [base64.b64encode(file.getvalue()).decode() for file in (turned, clear)]
    story = events(client.post(PATH, json={"prompt": "a", "images": images}))[-1][1]
    first, second = map(client.store.get_image, story["request"]["images"])
    assert first.size == (4, 8)
    assert second.getpixel((0, 0)) == (255, 255, 255)


def test_a_burst_does_not_pass_the_bound(client, monkeypatch):
    monkeypatch.setattr(module, "MAX_STORIES", 2)

    async def burst():
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as many:
            return await asyncio.gather(*(many.post(PATH, json={"prompt": f"cat {number}"}) for number in range(5)))

    assert sorted(response.status_code for response in asyncio.run(burst())) == [200, 200, 429, 429, 429]


def ask(app, receive, send) -> None:
    scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b"", "root_path": ""}
    asyncio.run(app({**scope, "asgi": {"spec_version": "2.4"}, "http_version": "1.1"}, receive, send))


def test_a_place_is_given_back_however_a_request_ends(client, monkeypatch):
    monkeypatch.setattr(module, "MAX_STORIES", 1)
    app = Starlette(routes=client.app.routes)
    sent = []

    async def leaves():
        return {"type": "http.disconnect"}

    async def whole():
        return {"type": "http.request", "body": b'{"prompt": "a cat"}', "more_body": False}

    async def keep(message):
        sent.append(message)

    async def is_gone(message):
        raise OSError("the client is gone")

    ask(app, leaves, keep)
    assert sent[0]["status"] == CLIENT_CLOSED_REQUEST
    with pytest.raises(ClientDisconnect):
        ask(app, whole, is_gone)
    monkeypatch.setattr(client.store.__class__, "put_png", lambda *_: 1 / 0)
    assert client.post(PATH, json={"prompt": "a", "images": [png()]}).status_code == 500
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_STORIES", 1)
    assert client.post(PATH, content="no").status_code == 400
    for _ in range(2):
        assert events(client.post(PATH, json={"prompt": "a cat"}))[-1][0] == "story"


def test_a_client_that_sends_too_slowly_is_let_go(client):
    sent = []

    async def never():
        await asyncio.sleep(60)

    async def keep(message):
        sent.append(message)

    ask(limited(client, upload_timeout_s=0.05).app, never, keep)
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_that_is_too_large_is_not_read(client, has_length):
    body = b"a" * 1001
    with limited(client, max_body_mib=1000 / 2**20) as limited_client:
        response = limited_client.post(PATH, content=body if has_length else iter([body, body]))
    assert response.status_code == 413
    assert "1,000 bytes" in response.json()["error"]["message"]


def test_a_client_that_goes_away_cancels_its_story(tmp_path):
    began, ended = asyncio.Event(), []

    class Endless(FakeGenerator):
        async def edit(self, request):
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(request.prompt)

    async def leave():
        app = Starlette(routes=[story_route(Storyteller(storyline(generator=Endless()), Store(tmp_path)))])
        body = [{"type": "http.request", "body": b'{"prompt": "a cat"}', "more_body": False}]

        async def receive():
            if body:
                return body.pop()
            await began.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b"", "root_path": ""}
        await asyncio.wait_for(app({**scope, "asgi": {"spec_version": "2.3"}, "http_version": "1.1"}, receive, send), 5)

    asyncio.run(leave())
    assert ended == [CAT.steps[0].prompt]


def test_a_guard_and_a_bound_stand_before_the_stories(client, monkeypatch):
    storyteller = Storyteller(storyline(Script(accept()), generator=client.generator), client.store)
    guard = partial(require_key, key=Secret("right"), shape=openai_error)
    with TestClient(Starlette(routes=[story_route(storyteller, guard=guard)])) as guarded_client:
        refused = guarded_client.post(PATH, json={"prompt": "a cat"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
        key = {"Authorization": "Bearer right"}
        assert events(guarded_client.post(PATH, json={"prompt": "a cat"}, headers=key))[-1][0] == "story"
        monkeypatch.setattr(module, "MAX_STORIES", 0)
        full = guarded_client.post(PATH, json={"prompt": "a cat"}, headers=key)
        assert (full.status_code, full.headers["Retry-After"]) == (429, "10")
