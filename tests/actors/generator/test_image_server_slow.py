"""An images server that a run starts for its generator: used, killed, started again, stopped."""

import asyncio
import os
import shutil
import signal
from dataclasses import replace
from typing import Any

import psutil
import pytest
from PIL import Image

from actors.cluster import without_ray
from actors.config import GeneratorConfig, ImageServerConfig
from actors.generator.generator import Generator
from actors.generator.image_server import KEY_ENV, identity_of
from actors.generator.kind import check_generator, kind_of, resolve
from actors.store.store import Store
from rollout.roles import GeneratorError
from rollout.types import EditRequest
from tests.support.processes import members

pytestmark = pytest.mark.slow  # real processes that come, go and are killed

FAKE = "python -m tests.support.fake_images_server {model} {host} {port}"


def settings(model, command=f"{FAKE} starts", **changes):
    server = ImageServerConfig(command=command, gpus=0, start_timeout_s=30)
    given: dict[str, Any] = {"kind": "images", "model": str(model), "num_replicas": 0, "num_attempts": 1}
    return GeneratorConfig(server=server, **given | changes)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "painter").mkdir()
    (tmp_path / "painter" / "weights").write_text("1")
    return tmp_path / "painter"


async def until(condition):
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.05)


def test_it_is_started_used_killed_started_again_and_stopped(model, tmp_path):
    config, store = settings(model, f"{FAKE} {tmp_path / 'starts'}"), Store(tmp_path / "store")
    before = store.put_image(Image.new("RGB", (64, 64)))

    async def colour(generator, request):
        return store.get_image(await generator.edit(request)).getpixel((0, 0))

    async def scenario():
        async with without_ray():
            generator = await Generator.start(config, store.root, "painter", tmp_path / "run" / "ledger")
            (server,) = generator.servers
            group = await server.ask("pid")
            seen = [await colour(generator, EditRequest(image, "a hat", 1)) for image in (None, before)]
            (tmp_path / "starts.hold").touch()
            child = next(one for one in psutil.Process(group).children())
            child.send_signal(signal.SIGKILL)  # the server itself, and then what watches over it
            await until(lambda: server.ask("trouble"))
            with pytest.raises(GeneratorError, match=r"images server died \(1 times so far\)(.|\n)*serving"):
                await generator.edit(EditRequest(None, "while it is down", 1))
            (tmp_path / "starts.hold").unlink()
            await until(lambda: is_well(server))
            seen.append(await colour(generator, EditRequest(None, "a hat", 2)))
            os.kill(await server.ask("pid"), signal.SIGKILL)
            await until(lambda: is_second(server))
            seen.append(await colour(generator, EditRequest(None, "a hat", 3)))
            seen.append(await colour(generator, EditRequest(None, "a hat", 1)))  # it is in the store
            return seen, [group, await server.ask("pid")]

    async def is_well(server):
        return not await server.ask("trouble")

    async def is_second(server):
        return await is_well(server) and (tmp_path / "starts").stat().st_size == 3

    seen, groups = asyncio.run(scenario())
    assert seen == [(1, 0, 1), (1, 1, 1), (2, 0, 2), (3, 0, 3), (1, 0, 1)]
    assert [members(group) for group in groups] == [[], []]
    log = (tmp_path / "run" / "painter-server-0.log").read_text()
    assert log.count(f"serving {model}") == 3
    assert os.environ[KEY_ENV] not in log


def test_one_that_does_not_come_up_says_its_last_words(model, tmp_path):
    command = "python -c 'raise SystemExit(\"no weights\")' {host} {port}"

    async def scenario():
        async with without_ray():
            await Generator.start(settings(model, command), tmp_path / "store")

    with pytest.raises(RuntimeError, match=r"generator's images server did not come up(.|\n)*no weights"):
        asyncio.run(scenario())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"command": "serve --port {port}"}, r"command is 'serve --port {port}', without {host}"),
        ({"command": "serve '{host} {port}"}, "No closing quotation"),
        ({"base_url": "http://host/v1"}, r"generator\.base_url names one: leave one out"),
        ({"command": "no-such-server {host} {port}"}, "starts no-such-server, which is neither"),
        ({"kind": "chat"}, r"generator\.server is for generator\.kind images"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(model, changes, why):
    with pytest.raises(ValueError, match=why):
        check_generator(settings(model, **changes))


def test_images_are_named_after_the_models_content_and_the_command(model, tmp_path):
    config = resolve(settings(model))
    moved = replace(config, model=str(shutil.copytree(model, tmp_path / "elsewhere" / "painter")))
    assert identity_of(moved) == identity_of(config)
    assert identity_of(replace(config, server=ImageServerConfig(command=f"{FAKE} --fast"))) != identity_of(config)
    (model / "weights").write_text("2")
    assert identity_of(moved) != identity_of(config)
    assert kind_of(config).describe(config, "painter")["server"] == config.server.command


def test_the_key_and_the_address_go_where_the_command_wants_them(model):
    from actors.generator.image_server import _command_line

    words = _command_line("serve {model} --at={host}:{port} --key {api_key} --json '{\"a\": 1}'", "m", "k", "h", 8)
    assert words[3:] == ["serve", "m", "--at=h:8", "--key", "k", "--json", '{"a": 1}']
