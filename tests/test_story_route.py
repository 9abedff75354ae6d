"""`POST /v1/interleave` on fakes: what is streamed when, and that a hostile request is refused before it costs."""

import asyncio
import base64
import io
import json
import struct
import zlib
from functools import partial

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from actors import story_route as module
from actors.connections import Secret
from actors.service_http import guarded, openai_error
from actors.store import Store
from actors.story_route import PATH, story_route
from actors.teller import Teller
from rollout.story_json import SCHEMA
from tests.fakes import FakeGenerator
from tests.test_storyline import CAT, Script, Stumbling, accept, reject, storyline


class Painter(FakeGenerator):
    """Makes real images in a store, a colour for each prompt."""

    def __init__(self, store: Store):
        super().__init__()
        self.store = store

    async def edit(self, request):
        await super().edit(request)
        return self.store.put_image(Image.new("RGB", (8, 8), (zlib.crc32(request.prompt.encode()) % 256, 0, 0)))


@pytest.fixture
def client(tmp_path):
    store = Store(tmp_path)
    line = storyline(Script(reject("again"), accept()), generator=Painter(store))
    with TestClient(Starlette(routes=[story_route(Teller(line, store))])) as client:
        client.store, client.generator = store, line.generator
        yield client


def events(response) -> list[tuple[str, dict]]:
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


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
    app = Starlette(routes=[story_route(Teller(line, Store(tmp_path)))])
    name, story = events(TestClient(app).post(PATH, json={"prompt": "a cat"}))[-1]
    assert (name, story["status"]) == ("story", "incomplete")
    assert story["error"].startswith("step 1 has no image")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("no", 400, "not JSON"),
        ("[" * 100_000, 400, "not JSON"),
        ([], 400, "is a list"),
        ({}, 400, "prompt is empty"),
        ({"prompt": " "}, 400, "prompt is empty"),
        ({"prompt": 3}, 400, "prompt is empty or no text"),
        ('{"prompt": "\\ud800"}', 400, "prompt holds half a character"),
        ({"prompt": "a" * 2**20}, 413, "1,048,576 characters"),
        ({"prompt": "a", "model": "x"}, 400, "unknown fields"),
        ({"prompt": "a", "images": "a.png"}, 400, "expected a list"),
        ({"prompt": "a", "images": [png()] * 17}, 400, "at most 16"),
        ({"prompt": "a", "images": ["/etc/passwd"]}, 400, r"images[0] is no PNG"),
        ({"prompt": "a", "images": ["http://127.0.0.1/a.png"]}, 400, r"images[0] is no PNG"),
        ({"prompt": "a", "images": [base64.b64encode(b"text").decode()]}, 400, r"images[0] is no PNG"),
        ({"prompt": "a", "images": [png(), 7]}, 400, "images[1] is a int"),
        ({"prompt": "a", "images": [bomb(100_000)]}, 400, "images[0] is no PNG"),
        ({"prompt": "a", "images": [bomb(8192)]}, 413, "too many"),
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


@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_that_is_too_large_is_not_read(client, has_length, monkeypatch):
    monkeypatch.setattr("actors.story_route.MAX_BODY", 1000)
    body = b"a" * 1001
    response = client.post(PATH, content=body if has_length else iter([body, body]))
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
        app = Starlette(routes=[story_route(Teller(storyline(generator=Endless()), Store(tmp_path)))])
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
    teller = Teller(storyline(Script(accept()), generator=client.generator), client.store)
    guard = partial(guarded, key=Secret("right"), shape=openai_error)
    with TestClient(Starlette(routes=[story_route(teller, guard=guard)])) as guarded_client:
        refused = guarded_client.post(PATH, json={"prompt": "a cat"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")
        key = {"Authorization": "Bearer right"}
        assert events(guarded_client.post(PATH, json={"prompt": "a cat"}, headers=key))[-1][0] == "story"
        monkeypatch.setattr(module, "MAX_STORIES", 0)
        full = guarded_client.post(PATH, json={"prompt": "a cat"}, headers=key)
        assert (full.status_code, full.headers["Retry-After"]) == (429, "10")
