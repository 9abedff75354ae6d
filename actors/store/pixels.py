"""What an image file shows, as people see it: a single conversion to RGB for every reader.

A photograph is rotated by its EXIF orientation, transparency is put over white, and 16-bit grey becomes 8-bit.
An image that needs none of this keeps its values bit by bit.
"""

import numpy as np
from PIL import ExifTags, Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that makes an image upright, by its EXIF orientation."""
_SAYS_TURN = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_ALPHA = ("RGBA", "LA", "PA", "RGBa")
_UNBOUNDED = ("I", "F")
_WHITE_IS_ZERO = 0


class UnclearImage(ValueError):
    """An image that does not say how to interpret its values."""


def as_seen(image: Image.Image) -> Image.Image:
    """Return an image as people see it, as RGB. Raises `UnclearImage`, or what Pillow raises for broken data."""
    return over_white(upright(image))


def upright(image: Image.Image) -> Image.Image:
    """Return the image as people see it, but with its transparency if it has any: 8-bit RGB or RGBA."""
    image.load()
    turn = turn_of(image)
    seen = _shallow(image)
    if seen is image or seen.mode not in ("RGB", "RGBA"):
        seen = seen.convert("RGBA" if has_alpha(seen) else "RGB")
    if turn is not None:
        seen = seen.transpose(turn)
        for name in _SAYS_TURN:  # or the next reader would rotate it again
            seen.info.pop(name, None)
    return seen


def over_white(image: Image.Image) -> Image.Image:
    """Return an image without transparency, over white."""
    if image.mode == "RGB":
        return image
    if image.mode != "RGBA":
        return image.convert("RGB")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def has_alpha(image: Image.Image) -> bool:
    """Whether an image can have transparent pixels, by its mode or by a colour that means transparent."""
    return image.mode in _ALPHA or "transparency" in image.info


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return what makes an image upright; None if it is upright, or its EXIF cannot be read."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # EXIF may be broken in any way: the picture can be seen without it
        return None


def oddities(image: Image.Image) -> list[str]:
    """Return why a loaded image looks different from its raw values: of exif_rotated, transparent, deep_grey, cmyk.

    >>> oddities(Image.new("RGB", (1, 1))), oddities(Image.new("RGBA", (1, 1))), oddities(Image.new("I;16", (1, 1)))
    ([], ['transparent'], ['deep_grey'])
    """
    found = []
    if turn_of(image) is not None:
        found.append("exif_rotated")
    if _is_deep(image):
        found.append("deep_grey")
    elif has_alpha(image) and np.asarray(image.convert("RGBA").getchannel("A")).min() < 255:
        found.append("transparent")
    if image.mode == "CMYK":
        found.append("cmyk")
    return found


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode in _UNBOUNDED


def _shallow(image: Image.Image) -> Image.Image:
    """Return a 16-bit grey image as 8-bit, as Pillow converts colours; any other image unchanged."""
    if image.mode in _UNBOUNDED:
        raise UnclearImage(
            f"its mode is {image.mode} (32-bit grey), which does not say which value is white; "
            "save it with 8 or 16 bits"
        )
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    tags = getattr(image, "tag_v2", {})  # a TIFF's
    if tags.get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO:
        grey = 255 - grey
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey).convert("RGB")
