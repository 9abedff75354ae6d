"""A requested size that the generator does not make: refused, or scaled to, as the recipe says."""

import io
from collections.abc import Callable
from dataclasses import replace

from PIL import Image, ImageOps

from actors.generator.image_sizes import Size
from actors.store.image_files import png_of
from actors.web.config import ServiceConfig
from actors.web.http_input import RequestRefused
from actors.web.image_request import ImageRequest
from rollout.roles import Unsupported


def fitted(
    image_request: ImageRequest, config: ServiceConfig, check: Callable[[ImageRequest], None]
) -> tuple[ImageRequest, Size | None]:
    """Return what to make, and the size to scale it to (None: as made). Raises `RequestRefused`, `Unsupported`."""
    try:
        check(image_request)
        return image_request, None
    except Unsupported:
        if image_request.size is None or config.other_sizes != "scale":
            raise
    without_size = replace(image_request, size=None)
    check(without_size)
    width, height = image_request.size
    if width * height > config.max_pixels:
        raise RequestRefused(400, f"{width}x{height} has more than the {config.max_pixels:,} pixels allowed")
    return without_size, image_request.size


def scaled(png: bytes, size: Size) -> bytes:
    """Return the image scaled to fit into `size`, in its own aspect ratio."""
    with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
        return png_of(ImageOps.contain(image, size, Image.Resampling.LANCZOS))
