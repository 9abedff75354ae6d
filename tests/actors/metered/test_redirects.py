"""An address that redirects: what would be lost on the way is not sent, and the error says where it leads."""

import asyncio
import json
import re

import pytest
from PIL import Image

from actors.config import JudgeConfig
from actors.judge.openai_asker import start_asker
from actors.judge.probe import probe_judges
from actors.judge.question import Question
from actors.metered.config import EndpointConfig
from actors.metered.retry import CallError
from actors.store.store import Store
from tests.support.scripted_endpoint import GOOD, ScriptedEndpoint, completion

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-of-the-test-0123456789")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


class Redirecting(ScriptedEndpoint):
    """Sends each POST elsewhere, with `status` and `location`; `seen` has the method of all that came."""

    def __init__(self, status, location):
        super().__init__()
        self.status, self.location, self.seen = status, location, []

    async def _serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.seen.append(head.split()[0])
        location = self.location.replace("HERE", self.url)
        writer.write(f"HTTP/1.1 {self.status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


def ask(folder, server, *further):
    """Return the answer of a judge at `server` and further ones, or why there is none, and its counts."""
    image = Store(folder).put_image(Image.new("RGB", (8, 8), "red"))

    async def scenario():
        async with server:
            for other in further:
                await other.__aenter__()
            endpoints = [EndpointConfig(one.url, "A_KEY") for one in (server, *further)]
            config = JudgeConfig(kind="openai", model="m", endpoints=endpoints, num_replicas=0, timeout_s=20.0)
            asker = await start_asker(config, folder)
            try:
                return await asker.ask(Question("<image>", (image,), form="rubric")), await asker.stats()
            except CallError as error:
                return str(error), await asker.stats()

    return asyncio.run(scenario())


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_question_that_would_arrive_as_a_get_is_not_sent_on(tmp_path, status):
    server = Redirecting(status, "https://host/api/v1/chat/completions")
    said, stats = ask(tmp_path, server)
    assert said.startswith(
        f"redirected: HTTP {status}: {server.url}/chat/completions redirects to "
        "https://host/api/v1/chat/completions; set base_url to https://host/api/v1 [attempts: 1,"
    )
    assert server.seen == ["POST"]
    assert stats["judge/faults/redirected"] == 1


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("/login?next=1", r"redirects to http://127\.0\.0\.1:\d+/login\?next=1 \["),
        (
            "//me:secret@host/v1/chat/completions",
            r"to http://host/v1/chat/completions; set base_url to http://host/v1 \[",
        ),
        ("ftp://host/", r"redirects to ftp://host/ \["),
        ("", r"redirects to http://127"),
        ("http://[half/", r"redirects to http://\[half/"),
    ],
)
def test_an_address_is_told_wherever_it_leads(tmp_path, location, told):
    said, _ = ask(tmp_path, Redirecting(301, location))
    assert said.startswith("redirected: ")
    assert re.search(told, said)
    assert "secret" not in said


def test_a_circle_is_told_after_one_attempt(tmp_path):
    said, stats = ask(tmp_path, Redirecting(307, "HERE/chat/completions"))
    assert said.startswith("redirected: ")
    assert stats["judge/attempts"] == 1


def test_a_redirect_that_keeps_the_question_is_followed_and_what_is_refused_there_is_told(tmp_path):
    async def scenario(reply, folder):
        async with ScriptedEndpoint(reply) as target, Redirecting(308, f"{target.url}/chat/completions") as server:
            image = Store(folder).put_image(Image.new("RGB", (8, 8), "red"))
            config = JudgeConfig(kind="openai", model="m", base_url=server.url, api_key_env="A_KEY", num_replicas=0)
            asker = await start_asker(config, folder)
            try:
                return await asker.ask(Question("<image>", (image,), form="rubric")), target.url
            except CallError as error:
                return str(error), target.url

    answer, _ = asyncio.run(scenario(lambda body: (200, completion(json.dumps(GOOD))), tmp_path / "1"))
    assert answer["scores"] == [7.0, 8.0]
    said, url = asyncio.run(scenario(lambda body: (401, {"error": {"message": "no key"}}), tmp_path / "2"))
    assert said.startswith("unauthorized: HTTP 401")
    assert f"(redirected to {url}/chat/completions)" in said


def test_another_endpoint_is_asked_instead(tmp_path):
    answer, stats = ask(tmp_path, Redirecting(301, "https://host/v1"), ScriptedEndpoint())
    assert answer["scores"] == [7.0, 8.0]
    assert stats["judge/faults/redirected"] == 1


def test_the_probe_says_so_before_anything_starts():
    async def scenario():
        async with Redirecting(301, "https://host/v1/chat/completions") as server:
            await probe_judges(
                {"judge": JudgeConfig(kind="openai", model="m", base_url=server.url, api_key_env="A_KEY")}
            )

    with pytest.raises(
        ValueError, match=r"redirected: HTTP 301: .*set base_url to https://host/v1; check judge.base_url"
    ):
        asyncio.run(scenario())
