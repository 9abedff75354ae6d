"""Generators behind OpenAI's images and chat interfaces, against real HTTP servers on loopback."""

import asyncio
import base64
import io
from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import web
from PIL import Image

from actors.config import GeneratorConfig
from actors.generator.generator import Generator
from actors.store.store import Store
from actors.store.untrusted_images import mask_of, read_image
from actors.web.service import build_app
from actors.web.serving import listening
from rollout.roles import BudgetSpent, GeneratorError
from rollout.types import EditRequest
from tests.support.hostile_images import bomb
from tests.support.image_service import png, service_of
from tests.support.scripted_endpoint import ScriptedEndpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]  # a real HTTP server


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv("PAINTER_KEY", "the-key")


def settings(name, url, **changes):
    given = {"name": name, "model": "painter", "base_url": url, "api_key_env": "PAINTER_KEY", "num_replicas": 0}
    return GeneratorConfig(**given | {"num_attempts": 2} | changes)


class Chat:
    """A model that answers with a picture in its message, in one of the ways that there are."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def answer(self, request):
        asked = await request.json()
        self.asked.append(asked)
        message = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
        usage = {"prompt_tokens": 10, "completion_tokens": 1000, "total_tokens": 1010}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        )

    @asynccontextmanager
    async def running(self):
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/chat/completions", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        finally:
            await runner.cleanup()


URL = f"data:image/png;base64,{base64.b64encode(png((16, 8), (1, 2, 3))).decode()}"
IN_IMAGES = {"content": "Here it is.", "images": [{"type": "image_url", "image_url": {"url": URL}}]}
IN_TEXT = {"content": f"![image]({URL})"}
NONE = {"content": "I cannot draw that."}


@pytest.mark.parametrize("message", [IN_IMAGES, IN_TEXT])
def test_a_chat_model_draws(tmp_path, message):
    store = Store(tmp_path)
    before, other = (store.put_image(Image.new("RGB", (8, 8), (tint, 0, 0))) for tint in (1, 2))
    chat = Chat(message)

    async def scenario():
        async with chat.running() as url:
            config = settings("nano-banana-pro", url, usd_per_image=0.25, call={"modalities": ["image", "text"]})
            generator = await Generator.start(config, tmp_path)
            refs = [await generator.edit(EditRequest(before, "a hat", seed, (other,))) for seed in (1, 2, 1)]
            return refs, await generator.stats()

    refs, stats = asyncio.run(scenario())
    assert {store.get_image(ref).getpixel((0, 0)) for ref in refs} == {(1, 2, 3)}
    (first, second) = chat.asked  # two seeds are two pictures, the third call is the first one again
    assert first == second
    assert (first["model"], first["modalities"]) == ("painter", ["image", "text"])
    kinds = [part["type"] for part in first["messages"][0]["content"]]
    assert kinds == ["image_url", "image_url", "text"]
    sent = base64.b64decode(first["messages"][0]["content"][1]["image_url"]["url"].partition(",")[2])
    assert Image.open(io.BytesIO(sent)).getpixel((0, 0)) == (2, 0, 0)
    assert (stats["generator/usd"], stats["generator/tokens_out"], stats["generator/hits"]) == (0.5, 2000, 1)


def test_an_answer_without_an_image_is_asked_for_again_and_then_told(tmp_path):
    async def scenario(*answers):
        chat = Chat(*answers)
        async with chat.running() as url:
            generator = await Generator.start(settings("openai-chat", url, usd_per_image=0.25), tmp_path)
            try:
                ref = await generator.edit(EditRequest(None, f"{answers}", 1))
            except GeneratorError as error:
                ref = str(error)
            return ref, len(chat.asked), await generator.stats()

    ref, num_asked, stats = asyncio.run(scenario(NONE, IN_TEXT))
    assert ref.startswith("sha256:")
    assert (num_asked, stats["generator/usd"], stats["generator/tokens_out"]) == (2, 0.5, 2000)  # words cost, too
    said, num_asked, stats = asyncio.run(scenario(NONE))
    assert "I cannot draw that" in said
    assert stats["generator/usd"] == 0.25 * num_asked


def test_other_wrappings_are_read_and_an_answer_by_url_is_paid_for_once(tmp_path):
    lines = "\n".join(URL[place : place + 76] for place in range(0, len(URL), 76))
    by_url = {"content": "Here:", "images": [{"image_url": {"url": "https://host/x.png"}}]}

    async def scenario(*answers):
        chat = Chat(*answers)
        async with chat.running() as url:
            generator = await Generator.start(settings("openai-chat", url), tmp_path)
            try:
                return await generator.edit(EditRequest(None, f"{answers}", 1)), len(chat.asked)
            except GeneratorError as error:
                return str(error), len(chat.asked)

    ref, num_asked = asyncio.run(scenario({"content": f"![it]({lines})"}))
    assert (Store(tmp_path).get_image(ref).getpixel((0, 0)), num_asked) == ((1, 2, 3), 1)
    said, num_asked = asyncio.run(scenario(by_url))
    assert "URLs are not opened here" in said
    assert num_asked == 1


def saved(file_format, size=(16, 8)):
    data = io.BytesIO()
    Image.new("RGB", size, "red").save(data, file_format)
    return data.getvalue()


def drawing(data):
    return {"data": [{"b64_json": base64.b64encode(data).decode()}]}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "answer", "num_asked", "why"),
    [
        *(
            ("openai-images", drawing(saved(name)), 1, f"expected a PNG, JPEG, WEBP image, found {name} data")
            for name in ("GIF", "BMP", "TIFF", "AVIF")
        ),
        ("openai-images", drawing(b"<svg xmlns='x'/>"), 1, "expected a PNG, JPEG, WEBP image, found SVG data"),
        ("openai-images", drawing(bomb()), 1, "more pixels than the 67,108,864 allowed"),
        ("openai-images", drawing(bomb(9000)), 1, "9000x9000 pixels, more than the 67,108,864 allowed"),
        ("openai-images", {"id": "1", "status": "queued"}, 1, "the status 'queued' of a request that waits"),
        ("openai-images", {"data": [{"url": "/files/x.png"}]}, 1, "url that is no base64: '/files/x.png'"),
        (
            "openai-chat",
            {"content": URL.partition(",")[2]},
            1,
            "the bare base64 of PNG data, expected a PNG, JPEG or WEBP",
        ),
        ("openai-chat", {"content": [{"type": "text", "text": "<svg x=''></svg>"}]}, 1, "an SVG drawing as text"),
        ("openai-images", drawing(saved("PNG", (640, 480))[:-200]), 2, "PNG data that are damaged or cut"),
        ("openai-images", drawing(b'{"error": "busy"}'), 2, 'a text that begins \'{"error": "busy"}\''),
        ("openai-images", drawing(saved("PNG", (1, 1))), 2, "an image of 1x1 pixels, which stands for none"),
        ("openai-images", {"detail": "out of memory"}, 2, "sent no image, but detail: 'out of memory'"),
    ],
)
def test_only_what_another_attempt_can_mend_is_asked_and_paid_for_again(tmp_path, name, answer, num_asked, why):
    reply = {"choices": [{"message": answer, "finish_reason": "stop"}]} if name == "openai-chat" else answer

    async def scenario():
        async with ScriptedEndpoint(lambda body: (200, reply)) as server:
            generator = await Generator.start(settings(name, server.url, usd_per_image=0.25), tmp_path)
            with pytest.raises(GeneratorError) as error:
                await generator.edit(EditRequest(None, "a hat", 1))
            return str(error.value), len(server.asked), await generator.stats()

    said, num, stats = asyncio.run(scenario())
    assert said.startswith("unreadable: ")
    assert why in said
    assert (num, stats["generator/usd"]) == (num_asked, 0.25 * num_asked)


@pytest.mark.filterwarnings("error")
def test_a_content_of_parts_is_read_without_a_warning(tmp_path):
    parts = {"content": [{"type": "text", "text": "Here:"}, {"type": "image_url", "image_url": {"url": URL}}]}

    async def scenario():
        async with Chat(parts).running() as url:
            generator = await Generator.start(settings("openai-chat", url), tmp_path)
            return await generator.edit(EditRequest(None, "a hat", 1))

    assert Store(tmp_path).get_image(asyncio.run(scenario())).getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize(
    ("choices", "num_asked"), [({"message": {"content": URL}}, 1), ([URL], 1), (None, 2), ([], 2), ([None], 2)]
)
def test_choices_of_another_type_are_asked_for_once_and_missing_ones_again(tmp_path, choices, num_asked):
    async def scenario():
        async with ScriptedEndpoint(lambda body: (200, {"choices": choices})) as server:
            generator = await Generator.start(settings("openai-chat", server.url), tmp_path)
            with pytest.raises(
                GeneratorError, match=r"unreadable: the endpoint sent (no image, but|the bare base64 of PNG data)"
            ):
                await generator.edit(EditRequest(None, "a hat", 1))
            return len(server.asked), await generator.stats()

    num, stats = asyncio.run(scenario())
    assert (num, stats["generator/faults/unreadable"]) == (num_asked, num_asked)


def test_a_budget_ends_the_run(tmp_path):
    async def scenario():
        async with Chat(IN_TEXT).running() as url:
            config = settings("nano-banana-pro", url, usd_per_image=1.0)
            generator = await Generator.start(config, tmp_path)
            calls = generator.owner._timed_here().calls
            calls._usage._budget = type(calls._usage._budget)(calls=0, usd=2.0)
            for seed in range(3):
                await generator.edit(EditRequest(None, "a hat", seed))

    with pytest.raises(BudgetSpent, match=r"2.00 of 2.00 US dollars"):
        asyncio.run(scenario())


def test_the_images_interface_generates_edits_and_keeps_the_aspect_ratio(tmp_path):
    store = Store(tmp_path / "mine")
    before, other = (store.put_image(Image.new("RGB", (512, 256), (tint, 0, 0))) for tint in (200, 100))

    async def scenario():
        service = service_of(tmp_path / "theirs", spec="flux2-klein", port=0)
        asked = []
        make = service.make
        service.make = lambda wish: asked.append(wish) or make(wish)
        async with listening(build_app(service, None), service.config) as url:
            generator = await Generator.start(settings("openai-images", f"{url}/v1"), tmp_path / "mine")
            refs = [
                await generator.edit(EditRequest(None, "abc", 1)),
                await generator.edit(EditRequest(before, "abcd", 1, references=(other,))),
            ]
            with pytest.raises(GeneratorError, match="does no inpainting"):
                await generator.edit(EditRequest(before, "x", 1, mask=other))
        return refs, asked

    refs, asked = asyncio.run(scenario())
    assert [np.asarray(store.get_image(ref))[0, 0, :2].tolist() for ref in refs] == [[0, 3], [200, 4]]
    assert [wish.size for wish in asked] == [(1024, 1024), (512, 256), (512, 256)]
    assert len(asked[1].images) == 2
    mask = mask_of(read_image(asked[2].mask, 512 * 256))
    assert mask.getpixel((0, 0)) in (100, 29, 30)  # red 100 as a shade of grey
