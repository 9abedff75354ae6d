"""Checks an image file's structure before it is decoded: some take more time than their bytes or pixels suggest.

Each scan of a progressive JPEG passes over all of its pixels, and Pillow reads PNG chunks and JPEG segments one by one,
at microseconds each, whatever they contain. Files written by cameras and programs stay far below these limits.
"""

import re

MAX_SCANS = 32
"""Scans of a JPEG; libjpeg itself writes 10."""
MAX_PARTS = 20_000
"""PNG chunks or JPEG segments; libpng writes 32 MiB as 4,096 chunks."""
MAX_PADDING = 4096
"""Bytes between the segments of a JPEG's head."""
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# Within a scan, 0xff 0x00 is a data byte, and restart markers (0xd0-0xd7) belong to the scan.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_SCAN, _END, _BARE = 0xDA, 0xD9, (0x01, 0xD8)


def complaint_about(data: bytes) -> str | None:
    """Return why a file costs too much to decode; None if it does not, or its format is not known here.

    >>> complaint_about(b"GIF89a")
    """
    if data.startswith(_PNG):
        return _complaint_about_png(data)
    if data.startswith(_JPEG):
        return _complaint_about_jpeg(data)
    return None


def _complaint_about_png(data: bytes) -> str | None:
    at = len(_PNG)
    for _ in range(MAX_PARTS):
        if at >= len(data):
            return None
        at += int.from_bytes(data[at : at + 4], "big") + 12
    return f"the PNG has more than {MAX_PARTS:,} chunks"


def _complaint_about_jpeg(data: bytes) -> str | None:
    at, num_scans, num_padding = len(_JPEG), 0, 0
    for _ in range(MAX_PARTS):
        marker = _MARKER.search(data, at)
        if num_scans == 0:
            num_padding += (len(data) if marker is None else marker.start()) - at
            if num_padding > MAX_PADDING:
                return f"the JPEG has more than {MAX_PADDING:,} bytes between its segments"
        if marker is None or marker[1][0] == _END:
            return None
        num_scans += marker[1][0] == _SCAN
        if num_scans > MAX_SCANS:
            return f"the JPEG has more than {MAX_SCANS} scans"
        at = marker.end()
        if marker[1][0] not in _BARE:
            at += int.from_bytes(data[at : at + 2], "big")
    return f"the JPEG has more than {MAX_PARTS:,} segments"
