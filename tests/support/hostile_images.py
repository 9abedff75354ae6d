"""Image files that cost far more than their bytes or pixels say."""

import io
import struct
import zlib
from functools import cache

from PIL import Image


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of_chunks(*extra: bytes, pieces: int = 1) -> bytes:
    """A PNG of 8 x 8 pixels with further chunks, its pixels followed by empty pieces."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 72)) + chunk(b"IDAT") * (pieces - 1)
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND")


def jpeg(size: tuple[int, int] = (8, 8), **options) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, format="JPEG", **options)
    return buffer.getvalue()


def jpeg_of_scans(count: int, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = jpeg(size, progressive=True)
    end, last = data.rindex(b"\xff\xd9"), data.rindex(b"\xff\xda")
    start = data.rindex(b"\xff\xc4", 0, last)
    return data[:end] + data[start:end] * (count - data.count(b"\xff\xda")) + data[end:]


def jpeg_with(head: bytes) -> bytes:
    """A JPEG with something before its first segment."""
    data = jpeg()
    return data[:2] + head + data[2:]


@cache
def noise(side: int) -> bytes:
    """A PNG that takes long to decode and to write again."""
    buffer = io.BytesIO()
    Image.effect_noise((side, side), 50).convert("RGB").save(buffer, format="PNG", compress_level=0)
    return buffer.getvalue()


def bomb(side: int = 20_000) -> bytes:
    """A PNG of few bytes that says it has side x side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND")
