"""The image service in this process, and how to talk to it."""

import asyncio
import base64
import io
import time
from functools import partial

import httpx
from PIL import Image

from actors.generator.generator import Generator, make_calls
from actors.generator.kind import resolve
from actors.generator.registry import REGISTRY
from actors.metered.connections import Secret
from actors.metered.shared_calls import SharedCalls
from actors.pool import Pool
from actors.web.config import ServiceConfig
from actors.web.image_service import ImageService
from actors.web.service import build_app
from tests.support.painter import Painter, generator_settings

KEY = Secret("the-key")


class Slow(Painter):
    """Paints after a while, one at a time."""

    def _load(self):
        canvas = super()._load()
        paint = canvas.draw

        def draw(images, mask, requests):
            time.sleep(0.05)
            return paint(images, mask, requests)

        canvas.draw = draw
        return canvas


def service_of(tmp_path, replica=Painter, spec="qwen-image-edit-plus", **limits):
    """Return the service of a generator of this spec; its recipe sets no size."""
    config = resolve(generator_settings(max_batch_size=1, height=0, width=0))
    made = type("Made", (replica,), {"spec": REGISTRY[spec]})
    root = str(tmp_path)
    pool = Pool(partial(made, config, root))
    owner = SharedCalls(partial(make_calls, config, root, pool, None))
    generator = Generator(config, root, owner, "painter-1", REGISTRY[spec], pool)
    return ImageService(generator, ServiceConfig(**limits))


def talk(service, *talks, key=None, headers=None):
    """Let each of `talks(client)` happen at once; return what they come to."""

    async def scenario():
        transport = httpx.ASGITransport(build_app(service, key), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
            return await asyncio.gather(*(one(client) for one in talks))

    return asyncio.run(scenario())


def ask(service, method, path, **options):
    headers = options.pop("client_headers", None)
    key = options.pop("key", None)
    (response,) = talk(service, lambda client: client.request(method, path, **options), key=key, headers=headers)
    return response


def png(size=(8, 8), colour=(200, 0, 0), mode="RGB"):
    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, format="PNG")
    return buffer.getvalue()


def b64(data):
    return base64.b64encode(data).decode()


def pixel(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.getpixel((0, 0))


def files_in(folder):
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


EDIT = {"image": b64(png()), "prompt": "abc", "seed": 7}
