"""Reads image files; an error says which one, and by its first bytes what it is instead of an image."""

import io
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from actors.store.pixels import UnclearImage, as_seen

_BY_START = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"\0\0\1\0": "ICO",
    b"icns": "ICNS",
    b"8BPS": "PSD",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"qoif": "QOI",
    b"v/1\x01": "OpenEXR",
    b"\x93NUMPY": "NumPy",
    b"%PDF-": "PDF",
    b"%!PS": "PostScript",
    b"PK\3\4": "ZIP",
    b"\x1f\x8b\x08": "gzip",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
}
_BY_BRAND = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"mif1": "HEIF", b"msf1": "HEIF"}
"""Of files in the ISO base media format, by their major brand; another one is a film."""
_SVG_OPENINGS = (b"<?xml", b"<!--", b"<!doctype svg")
_NUM_SHOWN = 60
_HEAD = 1024


class UnreadableImage(OSError):
    """An image file that is damaged, or in a format that is not read: reading it again would be no better."""


def decoded(data: bytes, name: str, formats: tuple[str, ...] | None) -> Image.Image:
    """Return the image of a file's bytes, as `decoded_file` does."""
    return decoded_file(io.BytesIO(data), name, formats)


def decoded_file(file: BinaryIO, name: str, formats: tuple[str, ...] | None) -> Image.Image:
    """Return a file's image as people see it (`actors.store.pixels`), as RGB; `formats`: None for all of Pillow's.

    Raises `UnreadableImage` and `UnclearImage`, which begin with `name`.
    """
    try:
        with Image.open(file, formats=formats) as image:
            return as_seen(image)
    except UnclearImage as error:
        raise UnclearImage(f"{name} cannot be shown: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # on broken data decoders raise anything
        raise UnreadableImage(f"{name} cannot be decoded ({why_unreadable(file, error, formats)})") from error


def format_of(data: bytes) -> str | None:
    """Return the name of a file's format, Pillow's where it has one; None for what is none that is known here.

    >>> format_of(b"GIF89a"), format_of(b"\\0\\0\\0 ftypavif"), format_of(b"<svg/>"), format_of(b"no image")
    ('GIF', 'AVIF', 'SVG', None)
    """
    if data[:4] == b"RIFF":
        return {b"WEBP": "WEBP", b"AVI ": "AVI"}.get(data[8:12])
    if data[4:8] == b"ftyp":
        return _BY_BRAND.get(data[8:12], "MP4")
    if data[:2] == b"BM" and data[6:10] == bytes(4):  # reserved: a text may begin with these letters, too
        return "BMP"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3] in b" \t\r\n" and len(data) > 3:
        return "PPM"
    head = data[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"<svg") or (head.startswith(_SVG_OPENINGS) and b"<svg" in head):
        return "SVG"
    return next((name for start, name in _BY_START.items() if data.startswith(start)), None)


def described(data: bytes) -> str:
    """Return what a file's first bytes say that it is, for an error.

    >>> described(b"BM" + bytes(20)), described(b"Not Found"), described(b"\\xfe\\xff")
    ('BMP data', "a text that begins 'Not Found'", 'data of an unknown format')
    """
    if not data:
        return "an empty file"
    if name := format_of(data):
        return f"{name} data"
    if not data.strip(b"\0"):
        return "zero bytes"
    text = beginning_of(data)
    return f"a text that begins {text!r}" if text else "data of an unknown format"


def beginning_of(data: bytes) -> str:
    """Return how a text in UTF-8 begins; '' for what is no text."""
    shown = data[:_NUM_SHOWN]
    text = shown.decode("utf-8", "ignore")
    is_text = len(text.encode()) > len(shown) - 4  # a last character may be cut
    return text if is_text and all(one.isprintable() or one.isspace() for one in text) else ""


def why_unreadable(file: BinaryIO, error: Exception, formats: tuple[str, ...] | None) -> str:
    """Return why Pillow, asked for these formats, raised `error` for a file."""
    if not isinstance(error, UnidentifiedImageError):
        return f"{type(error).__name__}: {error}"
    file.seek(0)  # Pillow's own text says no more than where in memory the file lies
    head = file.read(_HEAD)
    if format_of(head) in (formats or Image.ID):
        return f"its {format_of(head)} data are damaged"
    expected = "an image" if formats is None else f"{', '.join(formats[:-1])} or {formats[-1]}"
    return f"expected {expected}, found {described(head)}"
