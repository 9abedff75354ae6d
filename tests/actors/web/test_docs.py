"""What the service says about itself: all of its routes, the fields that it takes, and examples that work."""

import asyncio
import contextlib
import io
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from starlette.applications import Starlette

from actors.metered.connections import Secret
from actors.store.store import Store
from actors.storyteller import Storyteller
from actors.web.docs import ABOUT
from actors.web.examples import CURL, PYTHON, URL
from actors.web.fields import EDIT, OPENAI, STORY
from actors.web.openapi import OPERATIONS
from actors.web.service import build_app
from actors.web.serving import listening
from actors.web.story_route import PATH, story_route
from tests.support.image_service import KEY, ask, png, service_of
from tests.support.source_tree import REPO
from tests.support.storytelling import Script, StorePainter, accept, storyline


def story(tmp_path):
    store = Store(tmp_path / "stories")
    return story_route(Storyteller(storyline(Script(accept()), generator=StorePainter(store)), store))


def app_of(tmp_path, key: Secret | None = None) -> Starlette:
    return build_app(service_of(tmp_path, spec="flux2-klein"), key, [story(tmp_path)])


def get(tmp_path, path, **options):
    return ask(service_of(tmp_path), "GET", path, **options)


def test_the_document_is_openapi_and_has_every_route_that_is_served(tmp_path):
    document = get(tmp_path, "/openapi.json").json()
    OpenAPI(**document)
    routes: list[Any] = app_of(tmp_path).routes
    served = {(route.path, method.lower()) for route in routes for method in route.methods - {"HEAD"}}
    assert {(path, method) for path, methods in OPERATIONS.items() for method in methods} == served
    assert set(document["paths"]) == {path for path, _ in served} - {PATH}  # this one tells no stories
    for operations in OPERATIONS.values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["responses"]["200"]


@pytest.mark.parametrize(
    ("path", "kind", "fields"),
    [
        ("/edit", "application/json", set(EDIT.values)),
        ("/edit-upload", "multipart/form-data", {*EDIT.values, *EDIT.files} - {"references"}),
        ("/v1/images/generations", "application/json", set(OPENAI.values)),
        ("/v1/images/edits", "multipart/form-data", {*OPENAI.values, *OPENAI.files}),
        (PATH, "application/json", set(STORY.values)),
    ],
)
def test_the_fields_are_those_that_are_read(path, kind, fields):
    schema = OPERATIONS[path]["post"]["requestBody"]["content"][kind]["schema"]
    assert set(schema["properties"]) == fields
    assert set(schema["required"]) <= fields


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text = set(), [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_page_loads_nothing_and_shows_every_field_and_example(tmp_path):
    response = get(tmp_path, "/docs")
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    page = Page(response.text)
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert page.links == ["/openapi.json"]
    for shown in (*EDIT.values, *EDIT.files, *OPENAI.values, CURL["/edit"], PYTHON["/v1/images/edits"], "POST /edit"):
        assert shown in page.text
    assert PATH not in page.text


def test_the_root_says_what_there_is_and_other_paths_point_there(tmp_path):
    routes = get(tmp_path, "/").json()["routes"]
    assert {"GET /docs", "GET /openapi.json", "POST /edit", "GET /health"} <= set(routes)
    missing = get(tmp_path, "/v1/chat/completions")
    assert missing.status_code == 404
    assert missing.json()["error"]["message"] == "there is no /v1/chat/completions; GET / lists the routes"
    assert get(tmp_path, "/edit").status_code == 405


@pytest.mark.parametrize("path", ABOUT)
def test_what_describes_the_interface_needs_no_key_and_is_for_no_other_site(tmp_path, path):
    assert get(tmp_path, path, key=KEY).status_code == 200
    assert get(tmp_path, path, headers={"Host": "evil.example"}).status_code == 403
    assert get(tmp_path, path, headers={"Origin": "https://evil.example"}).status_code == 403
    assert get(tmp_path, f"{path}/../status", key=KEY).status_code == 401


def test_the_guide_has_every_example():
    guide = (REPO / "docs" / "service.md").read_text()
    for source in (*CURL.values(), *PYTHON.values()):
        assert source.strip() in guide


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", PYTHON)
def test_the_python_examples_work(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    Path("before.png").write_bytes(png((64, 64)))
    said = io.StringIO()

    def run(url):
        with contextlib.redirect_stdout(said):
            exec(PYTHON[path].replace(URL, url), {})

    async def scenario():
        service = service_of(tmp_path, spec="flux2-klein", port=0)
        async with listening(build_app(service, None, [story(tmp_path)]), service.config) as url:
            await asyncio.to_thread(run, url)

    asyncio.run(scenario())
    if path == PATH:
        assert said.getvalue().split("\n") == ["plan ", "step a head", "step a body", "story done", ""]
    else:
        assert any(name.endswith(".png") and name != "before.png" for name in os.listdir("."))


@pytest.mark.parametrize("path", CURL)
def test_the_curl_examples_ask_for_their_route(path):
    assert f"{URL}{path} " in CURL[path] + " "
