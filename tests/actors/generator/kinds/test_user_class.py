"""The picture that a generator of the user's own returns: of any mode, and stored as it is seen everywhere."""

import asyncio

import numpy as np
import pytest
from PIL import Image

from actors.config import GeneratorConfig
from actors.generator.generator import Generator
from actors.store.pixels import as_seen
from actors.store.store import Store
from rollout.roles import GeneratorError
from rollout.types import EditRequest

MINE = """
from PIL import Image
from tests.actors.generator.kinds import test_user_class


class Painter:
    def __init__(self, picture):
        self.picture = picture

    def edit(self, edit):
        return test_user_class.PICTURES[self.picture]()
"""


def palette(mode="P"):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 10, 30])
    if mode == "PA":
        return image.convert("PA")
    image.info["transparency"] = 1
    return image


def deep():
    return Image.fromarray(np.full((8, 8), 256 * 128, np.uint16))


def clear(mode):
    image = Image.new(mode, (8, 8), "red" if mode == "RGBA" else 9)
    image.putalpha(0)
    return image


PICTURES = {
    "sixteen bits": deep,
    "a transparent colour": palette,
    "a palette with alpha": lambda: palette("PA"),
    "grey and alpha": lambda: clear("LA"),
    "colour and alpha": lambda: clear("RGBA"),
    "one bit": lambda: Image.new("1", (8, 8), 1),
    "inks": lambda: Image.new("CMYK", (8, 8), (255, 0, 0, 0)),
    "plain": lambda: Image.new("RGB", (8, 8), (1, 2, 3)),
    "no range": lambda: Image.new("F", (8, 8)),
    "no pixels": lambda: Image.new("RGB", (0, 8)),
    "closed": lambda: closed(),
}


def closed():
    image = Image.new("RGB", (8, 8))
    image.close()
    return image


def painted(tmp_path, picture):
    (tmp_path / "mine.py").write_text(MINE)
    config = GeneratorConfig(kind=f"{tmp_path}/mine.py:Painter", num_replicas=0, options={"picture": picture})
    store = Store(tmp_path / "store")
    before = store.put_image(Image.new("RGB", (8, 8)))

    async def scenario():
        generator = await Generator.start(config, store.root)
        return await generator.edit(EditRequest(before, "a hat", 1))

    return store.get_image(asyncio.run(scenario()))


@pytest.mark.parametrize(
    ("picture", "seen"),
    [
        ("sixteen bits", (128, 128, 128)),
        ("a transparent colour", (255, 255, 255)),
        ("a palette with alpha", (200, 10, 30)),
        ("grey and alpha", (255, 255, 255)),
        ("colour and alpha", (255, 255, 255)),
        ("one bit", (255, 255, 255)),
        ("inks", (0, 255, 255)),
        ("plain", (1, 2, 3)),
    ],
)
def test_a_picture_of_any_mode_is_stored_as_it_is_seen(tmp_path, picture, seen):
    stored = painted(tmp_path, picture)
    assert stored.getpixel((0, 0)) == seen
    assert stored.tobytes() == as_seen(PICTURES[picture]()).tobytes()


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (
            "no range",
            r"Painter\.edit returned an image that cannot be shown: its mode is F .*; save it with 8 or 16 bits",
        ),
        ("no pixels", r"Painter\.edit returned an image of 0x8 pixels"),
        ("closed", r"Painter\.edit returned an image that cannot be shown: Operation on closed image"),
    ],
)
def test_one_that_cannot_be_shown_is_the_classs_fault_and_not_asked_for_again(tmp_path, picture, why):
    with pytest.raises(GeneratorError, match=rf"^ValueError: {why} \[attempts: 1,"):
        painted(tmp_path, picture)
