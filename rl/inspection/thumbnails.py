"""Small copies of a run's images for a page: embedded if they are few, in a folder next to it if they are many."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from actors.store.files import naming
from actors.store.image_files import data_url, small_copy, suffix_of
from actors.store.store import Store
from rollout.types import ImageRef

LARGEST_PAGE = 16 * 2**20
"""Bytes of thumbnails up to which a page embeds them."""
_SIDE = 320
"""Longest side of a thumbnail, in pixels: twice what a card shows."""
_LOSSLESS_SIDE = 128
"""Images with sides up to this keep their pixels."""
_NUM_THREADS = 4


class Thumbnail(NamedTuple):
    """What the page knows about an image."""

    source: str | None
    """A data URL, or a path relative to the page; None: the image is gone or cannot be read."""
    ref: ImageRef


class Thumbnails:
    """Numbers the images that a page asks for, and makes their thumbnails once, at the end."""

    def __init__(self, store: Store):
        self._store = store
        self._places: dict[ImageRef, int] = {}

    def place(self, ref: ImageRef | None) -> int | None:
        """Return the number of an image in the list that `make` returns."""
        return None if ref is None else self._places.setdefault(ref, len(self._places))

    def make(self, folder: Path, *, largest_page: int = LARGEST_PAGE) -> list[Thumbnail]:
        """Return the thumbnails in order; if they are more than `largest_page` bytes, all go to `folder`."""
        sources: list[str | None] = []
        held: dict[int, bytes] | None = {}
        num_bytes = 0
        with ThreadPoolExecutor(_NUM_THREADS) as threads:  # Pillow releases the GIL to decode
            for data in threads.map(self._small, self._places):
                sources.append(None)
                if data is None:
                    continue
                if held is None:
                    sources[-1] = _beside(folder, data)
                    continue
                held[len(sources) - 1] = data
                num_bytes += len(data)
                if num_bytes > largest_page:
                    for place, early in held.items():
                        sources[place] = _beside(folder, early)
                    held = None
        for place, data in (held or {}).items():
            sources[place] = data_url(data)
        return [Thumbnail(source, ref) for source, ref in zip(sources, self._places, strict=True)]

    def _small(self, ref: ImageRef) -> bytes | None:
        """Return an image as PNG if it is small, else a smaller copy as WebP; None if there is none."""
        try:
            image = self._store.get_image(ref)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None  # deleted, truncated or not an image: the page says so in its place
        return small_copy(image, _SIDE, lossless_side=_LOSSLESS_SIDE, quality=82)


def _beside(folder: Path, data: bytes) -> str:
    """Write a thumbnail, named by its content, and return its path relative to the page."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()[:24]}.{suffix_of(data)}"
    with naming(path):
        path.write_bytes(data)
    return quote(f"{folder.name}/{path.name}")
