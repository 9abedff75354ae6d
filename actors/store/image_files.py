"""Images as files: in full, as small copies for pages, and as data URLs for pages and chat messages."""

import base64
import io
from typing import Any

from PIL import Image


def png_of(image: Image.Image) -> bytes:
    """Return an image as a PNG file."""
    return _file_of(image, format="PNG")


def small_copy(image: Image.Image, side: int, *, lossless_side: int, quality: int = 80) -> bytes:
    """Return a PNG if no side exceeds `lossless_side`, else a WebP, for which `image` is shrunk in place to `side`."""
    if max(image.size) <= lossless_side:
        return png_of(image)
    image.thumbnail((side, side))
    return _file_of(image, format="WEBP", quality=quality)


def suffix_of(data: bytes) -> str:
    """Return "png" or "webp", whichever a file is."""
    return "png" if data.startswith(b"\x89PNG") else "webp"


def data_url(data: bytes) -> str:
    """Return a PNG or WebP file as a data URL.

    >>> data_url(b"RIFF")
    'data:image/webp;base64,UklGRg=='
    """
    return f"data:image/{suffix_of(data)};base64,{base64.b64encode(data).decode()}"


def image_part(data: bytes) -> dict[str, object]:
    """Return the part of a chat message that holds a PNG or WebP file."""
    return {"type": "image_url", "image_url": {"url": data_url(data)}}


def _file_of(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()
