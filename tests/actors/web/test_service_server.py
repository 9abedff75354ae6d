"""The service behind a real HTTP server on loopback: the `openai` package, a remote generator, a flood, a leaver."""

import asyncio
import base64
import io
import time

import httpx
import pytest
from PIL import Image

from actors.config import GeneratorConfig
from actors.generator.generator import Generator
from actors.generator.registry import Mode
from actors.metered.connections import Secret
from actors.store.store import Store
from actors.web.service import build_app
from actors.web.serving import listening
from rollout.roles import GeneratorError, Unsupported
from rollout.types import EditRequest
from tests.support.image_service import EDIT, Slow, files_in, pixel, png, service_of
from tests.support.painter import Painter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]  # a real HTTP server, and real waiting for it


def served(tmp_path, scenario, replica=Painter, key=None, spec="qwen-image-edit-plus", **limits):
    """Return what `scenario(url, service)` comes to while the service runs."""

    async def run():
        service = service_of(tmp_path, replica, spec, port=0, **limits)
        async with listening(build_app(service, key), service.config) as url:
            return await scenario(url, service)

    return asyncio.run(run())


def test_the_openai_package_works_against_it(tmp_path):
    sent = png((64, 64))

    async def scenario(url, service):
        from openai import AsyncOpenAI, BadRequestError

        client = AsyncOpenAI(api_key="the-key", base_url=f"{url}/v1", max_retries=0)
        made = await client.images.generate(prompt="abc", model="gpt-image-1", n=2, extra_body={"seed": 3})
        edited = await client.images.edit(
            image=[("a.png", sent, "image/png"), ("b.png", sent, "image/png")],
            prompt="ab",
            model="gpt-image-1",
            size="512x512",
            extra_body={"seed": 4},
        )
        with pytest.raises(BadRequestError, match="multiples of 16"):
            await client.images.generate(prompt="x", model="m", size="1000x1000")
        models = [model.id async for model in client.models.list()]
        return [pixel(base64.b64decode(one.b64_json)) for one in (*made.data, *edited.data)], models

    drawn, models = served(tmp_path, scenario, key=Secret("the-key"), spec="flux2-klein")
    assert drawn == [(0, 3, 3), (0, 3, 4), (200, 2, 4)]
    assert models == ["flux2-klein"]


def test_a_remote_service_is_just_another_generator(tmp_path, monkeypatch):
    monkeypatch.setenv("REMOTE_KEY", "the-key")
    store = Store(tmp_path / "mine")
    before, other = (store.put_image(Image.new("RGB", (8, 8), (tint, 0, 0))) for tint in (200, 100))
    buffer = io.BytesIO()
    Image.new("RGB", (600, 300)).save(buffer, format="PNG")

    async def scenario(url, service):
        config = GeneratorConfig(name="service", base_url=url, api_key_env="REMOTE_KEY", num_replicas=0)
        generator = await Generator.start(config, tmp_path / "mine")
        refs = [
            await generator.edit(EditRequest(before, "abc", 7)),
            await generator.edit(EditRequest(before, "abcd", 8, references=(other,), size=(512, 256))),
            await generator.edit(EditRequest(before, "abc", 7)),
        ]
        with pytest.raises(Unsupported, match="does no text-to-image"):
            await generator.edit(EditRequest(None, "abc", 7))
        with pytest.raises(GeneratorError, match="CUDA out of memory"):
            await generator.edit(EditRequest(before, "bad", 7))
        return generator, refs, dict(service.counts), await generator.stats()

    generator, refs, counts, stats = served(tmp_path / "theirs", scenario, key=Secret("the-key"))
    assert [store.get_image(ref).getpixel((0, 0)) for ref in refs] == [(200, 3, 7), (200, 4, 8), (200, 3, 7)]
    # The service's settings are part of the name: with others it makes other images.
    assert generator.model.startswith("painter-1 ")
    assert generator.spec.name == "qwen-image-edit-plus"
    assert generator.spec.modes == {Mode.EDIT, Mode.REFERENCES}
    assert (counts["answered"], stats["generator/answers"], stats["generator/hits"]) == (2, 2, 1)
    assert stats["generator/faults/server_error"] == 3


def test_a_full_service_is_asked_again_until_all_is_made(tmp_path):
    async def scenario(url, service):
        config = GeneratorConfig(name="service", base_url=url, num_replicas=0, max_concurrency=8)
        generator = await Generator.start(config, tmp_path / "mine")
        before = Store(tmp_path / "mine").put_image(Image.new("RGB", (8, 8)))
        refs = await asyncio.gather(*(generator.edit(EditRequest(before, "abc", seed)) for seed in range(12)))
        return refs, await generator.stats()

    refs, stats = served(tmp_path / "theirs", scenario, Slow, max_pending=3)
    assert len(set(refs)) == 12
    assert stats["generator/faults/rate_limit"] > 0


def test_a_service_that_is_not_there_is_told_at_the_start(tmp_path):
    config = GeneratorConfig(name="service", base_url="http://127.0.0.1:9", num_replicas=0)
    with pytest.raises(ValueError, match="no service answers there"):
        asyncio.run(Generator.start(config, tmp_path))


@pytest.mark.parametrize("is_told", [True, False])
def test_200_megabytes_are_refused_quickly_and_the_next_request_is_answered(tmp_path, is_told):
    async def pieces():
        for _ in range(200):
            yield b" " * 2**20

    async def scenario(url, service):
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            began = time.monotonic()
            refused = await client.post("/edit", content=b" " * (200 * 2**20) if is_told else pieces())
            seconds = time.monotonic() - began
            return refused, seconds, await client.post("/edit", json=EDIT), service.num_pending

    refused, seconds, answered, num_pending = served(tmp_path, scenario)
    print(f"200 MB refused after {seconds:.2f} s")
    assert (refused.status_code, answered.status_code, num_pending) == (413, 200, 0)
    assert "more than the 33,554,432 bytes" in refused.json()["error"]
    assert seconds < 10


def test_who_sends_slowly_is_not_waited_for(tmp_path):
    async def scenario(url, service):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /edit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        return await reader.read()  # to the end: the server hangs up

    answer = served(tmp_path, scenario, upload_timeout_s=0.3)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"not complete after 0.3 s" in answer
    assert files_in(tmp_path) == []


def test_a_client_that_hangs_up_takes_its_request_along(tmp_path):
    async def scenario(url, service):
        async with httpx.AsyncClient(base_url=url) as client:
            asking = [asyncio.create_task(client.post("/edit", json={**EDIT, "seed": seed})) for seed in range(6)]
            while service.num_pending < 6:
                await asyncio.sleep(0.002)
            for task in asking[1:]:
                task.cancel()
            first = await asking[0]
            await asyncio.sleep(0.4)
        return first, await service.generator.pool._replica()

    first, replica = served(tmp_path, scenario, Slow)
    assert first.status_code == 200
    assert len(replica.batches) <= 4  # the warm-up, the one that stayed, and what was under way
