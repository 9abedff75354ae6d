"""Untrusted images: read within bounds, or refused with an error that says why."""

import base64
import binascii
import io
import re

from PIL import Image, ImageOps

from actors.store.image_formats import beginning_of, described, format_of
from actors.store.image_structure import complaint_about
from actors.store.pixels import over_white, upright
from rollout.text.type_names import json_type

FORMATS = ("PNG", "JPEG", "WEBP")
_DATA_URL = re.compile(r"data:(?:image/[\w.+-]{1,40})?(?:;[\w.=+%-]{1,60}){0,4};base64,", re.IGNORECASE)
_BLANKS = b" \t\n\v\f\r\x1c\x1d\x1e\x1f"


class BadImage(ValueError):
    """What was sent is not an image that is accepted."""


class UnacceptedImage(BadImage):
    """A whole image, or other data, of a format or size that is not accepted: whoever sent it would do so again."""


def read_image(data: bytes, max_pixels: int) -> Image.Image:
    """Return a decoded image, upright, as RGB or RGBA. Raises `BadImage` before a large one is decoded."""
    expected = f"expected a {', '.join(FORMATS)} image"
    if (name := format_of(data)) is not None and name not in FORMATS:
        raise UnacceptedImage(f"{expected}, found {described(data)}")
    if complaint := complaint_about(data):
        raise UnacceptedImage(f"{complaint}, which take too long to read; save it again")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise UnacceptedImage(f"the image has {width}x{height} pixels, more than the {max_pixels:,} allowed")
            return upright(image)
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise UnacceptedImage(f"the image has more pixels than the {max_pixels:,} allowed") from None
    except Exception as error:  # a decoder may raise anything on hostile bytes
        what = f"{len(data):,} bytes" if data else "an empty file"
        text = beginning_of(data)
        why = f": {name} data that are damaged or cut" if name else f": a text that begins {text!r}" if text else ""
        raise BadImage(f"{expected}, found {what} that cannot be read as one{why}") from error


def decode_base64(text: object, what: str = "image") -> bytes:
    """Return the bytes of a base64 text or data URL. Raises `BadImage` for anything else, such as a path or URL."""
    if not isinstance(text, str):
        raise BadImage(f"{what}: expected the image's bytes as base64 text, found {json_type(text)}")
    text = _DATA_URL.sub("", text, count=1) if _DATA_URL.match(text) else text
    try:
        return base64.b64decode(text.encode("ascii").translate(None, _BLANKS), validate=True)
    except (binascii.Error, ValueError):
        raise BadImage(
            f"{what}: expected the image's bytes as base64, found {text[:60]!r}; paths and URLs are not opened here"
        ) from None


def flatten(image: Image.Image) -> Image.Image:
    """Return an image without transparency, over white."""
    return over_white(image)


def mask_of(image: Image.Image) -> Image.Image:
    """Return a mask (white: paint here) from one drawn in black and white, or from transparent pixels (OpenAI's)."""
    if image.mode == "RGBA":
        return ImageOps.invert(image.getchannel("A"))
    return image.convert("L")


def transparent_mask(mask: Image.Image) -> Image.Image:
    """Return a mask in OpenAI's form: white becomes transparent."""
    form = Image.new("RGBA", mask.size)
    form.putalpha(ImageOps.invert(mask.convert("L")))
    return form
