"""A story's page: one HTML file with its pictures inside, for a wide screen and for a phone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from PIL import Image

from actors.store.image_files import data_url, small_copy
from actors.store.store import Store
from rollout.types import ImageRef

_SIDE = 1024
"""Longest side of a picture in the page, in pixels; the folder has it as it was made."""
_SMALL = 256
"""Up to this side a picture is kept as it is, and its pixels are shown as squares."""
_QUALITY = 88

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
"""Kept: a story's page is written anew after each step."""
_VERDICTS = {
    "accepted": "accepted",
    "best_of_tries": "best of its tries",
    "unjudged": "not judged",
    "text": "",
    "failed": "no image could be made",
    "skipped": "not reached",
}


class StoryImage(NamedTuple):
    """What the page knows of an image."""

    source: str
    """A data URL."""
    is_small: bool
    width: int
    height: int


class Embedded:
    """Turns images into `StoryImage`s, each once."""

    def __init__(self, store: Store):
        self._store = store
        self._pictures: dict[ImageRef, StoryImage] = {}

    def __call__(self, ref: ImageRef) -> StoryImage:
        if ref not in self._pictures:
            self._pictures[ref] = _picture(self._store.get_image(ref))
        return self._pictures[ref]


def render_story(story: Mapping[str, Any], made_by: Mapping[str, str]) -> str:
    """Return the page of a story as `story_as_json` gives it, its images as `StoryImage`s."""
    images = [attempt["image"] for step in story["steps"] for attempt in step["tries"] if attempt["image"]]
    return _TEMPLATES.get_template("page.html.j2").render(
        story=story, made_by=made_by, verdicts=_VERDICTS, num_images=len(images), seconds=_seconds(story)
    )


def _seconds(story: Mapping[str, Any]) -> float:
    return sum(sum(attempt["seconds"].values()) for step in story["steps"] for attempt in step["tries"])


def _picture(image: Image.Image) -> StoryImage:
    is_small = max(image.size) <= _SMALL
    data = small_copy(image, _SIDE, lossless_side=_SMALL, quality=_QUALITY)
    return StoryImage(data_url(data), is_small, image.width, image.height)
