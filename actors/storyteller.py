"""A storyteller as its users see it: texts and pictures in, stories out, whose pictures are in its store."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from PIL import Image

from actors.store.image_formats import UnreadableImage, decoded_file
from actors.store.pixels import UnclearImage, as_seen
from actors.store.store import Store
from rollout.story import Story, StoryEvent
from rollout.storyline import Storyline
from rollout.types import ImageRef, Request

ImageInput = Path | str | Image.Image
"""An image file, or an image."""


@dataclass(frozen=True)
class Storyteller:
    """Tells stories, many at a time. Made by `rl.story.run.open_story`."""

    storyline: Storyline
    store: Store

    async def tell(self, text: str, images: Sequence[ImageInput] = (), *, seed: int = 0, tries: int = 0) -> Story:
        """Return the story of a request; its status tells failures. Raises ValueError for a bad request.

        `tries` is the maximum number of tries per step; 0: the recipe's number.
        """
        return await self.storyline.tell(await self.request(text, images, seed=seed, tries=tries))

    async def events(
        self, text: str, images: Sequence[ImageInput] = (), *, seed: int = 0, tries: int = 0
    ) -> AsyncGenerator[StoryEvent]:
        """Yield what happens while a story is told (`rollout.story`); the last event has the whole story."""
        request = await self.request(text, images, seed=seed, tries=tries)
        async with aclosing(self.storyline.events(request)) as events:
            async for event in events:
                yield event

    async def request(self, text: str, images: Sequence[ImageInput] = (), *, seed: int = 0, tries: int = 0) -> Request:
        """Return a request whose images are in the store. Raises ValueError that says what is wrong."""
        refs = await asyncio.to_thread(lambda: tuple(map(self._keep, images, count(1))))
        return Request(text, refs, seed, tries).checked()

    def picture(self, ref: ImageRef) -> Image.Image:
        """Return an image of a story, as RGB."""
        return self.store.get_image(ref)

    def _keep(self, picture: ImageInput, number: int) -> ImageRef:
        if not isinstance(picture, Image.Image):
            return self.store.put_image(read_picture(picture))
        try:
            seen = as_seen(picture)
        except Exception as error:  # a file that was opened is decoded only here
            raise ValueError(f"image {number} cannot be shown: {error}") from None
        return self.store.put_image(seen)


def read_picture(file: Path | str) -> Image.Image:
    """Return the picture of an image file, as RGB. Raises ValueError."""
    try:
        with Path(file).open("rb") as opened:
            return decoded_file(opened, f"image {file}", None)
    except (UnreadableImage, UnclearImage) as error:
        raise ValueError(str(error)) from None
    except OSError as error:
        raise ValueError(f"image {file} cannot be read: {error}") from None
