"""A generator behind HTTP is asked before anything starts what costs nothing: wrong addresses and keys are one line."""

import asyncio
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from actors.config import GeneratorConfig
from actors.generator.probe import probe_generator
from actors.metered.config import EndpointConfig

KEY = "sk-of-the-test-0123456789"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.delenv("NO_KEY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(status: int, said: object) -> Iterator[tuple[str, list[tuple[str, str, str | None]]]]:
    """Yield an endpoint's address, and what it was asked: method, path and key."""
    asked: list[tuple[str, str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.command, self.path, self.headers.get("Authorization")))
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def images(url, **changes) -> GeneratorConfig:
    said = {"kind": "images", "model": "image-1", "base_url": url, "api_key_env": "A_KEY"}
    return GeneratorConfig(**said | changes)


def told(config: GeneratorConfig) -> str:
    """Return what the probe raises; empty where it lets the run start."""
    try:
        asyncio.run(probe_generator(config))
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["images", "chat"])
def test_the_list_of_models_is_asked_once_and_no_image(kind):
    with serving(200, {"data": []}) as (url, asked):
        assert told(images(f"{url}/v1", kind=kind)) == ""
    assert asked == [("GET", "/v1/models", f"Bearer {KEY}")]


def test_a_service_of_our_own_is_asked_what_it_can_do_and_needs_no_key():
    with serving(200, {}) as (url, asked):
        assert told(GeneratorConfig(kind="service", base_url=url)) == ""
    assert [(method, path) for method, path, _ in asked] == [("GET", "/status")]
    with serving(404, {}) as (url, _):
        assert f"generator: cannot ask the service at {url} without a key: not_found: " in told(
            GeneratorConfig(kind="service", base_url=url)
        )


def test_a_wrong_key_is_one_line_with_its_variable_and_without_the_key():
    with serving(401, {"error": {"message": f"no such key {KEY}"}}) as (url, _):
        line = told(images(f"{url}/v1"))
    assert re.fullmatch(
        rf"generator: cannot ask 'image-1' at {url}/v1 with the key in A_KEY: unauthorized: HTTP 401: .*no such key "
        r".*; set A_KEY to a valid key \(generator\.probe=false starts without asking\)",
        line,
    )
    assert KEY not in line


@pytest.mark.parametrize("host", ["http://no.such.host.invalid", "http://127.0.0.1:9"])
def test_an_address_where_nothing_is_is_one_line_for_each_endpoint(host):
    endpoints = [EndpointConfig(f"{host}/{name}", "A_KEY") for name in "ab"]
    lines = told(images(None, endpoints=endpoints)).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["generator.endpoints.0", "generator.endpoints.1"]
    assert all("unreachable" in line and "is the server up? check generator.endpoints." in line for line in lines)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, {"detail": "Not Found"}),  # no list of models
        (403, {"error": {"message": "not for this key"}}),
        (401, {"error": {"message": "Missing scopes: api.model.read"}}),
    ],
)
def test_an_endpoint_that_tells_nothing_of_models_passes(status, said, capsys):
    with serving(status, said) as (url, _):
        assert told(images(f"{url}/v1")) == ""
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_endpoint_that_is_busy_is_told_and_the_run_starts(status, capsys):
    with serving(status, {}) as (url, _):
        assert told(images(f"{url}/v1")) == ""
    assert "starting all the same" in capsys.readouterr().err


def test_nothing_is_asked_without_a_probe_or_of_what_is_not_behind_http():
    with serving(401, {}) as (url, asked):
        assert told(images(f"{url}/v1", probe=False)) == ""
        assert told(GeneratorConfig(model="tiny-flux")) == ""
    assert asked == []


def test_a_missing_key_is_named():
    with serving(200, {}) as (url, asked), pytest.raises(ValueError, match="NO_KEY"):
        asyncio.run(probe_generator(images(url, api_key_env="NO_KEY")))
    assert asked == []
