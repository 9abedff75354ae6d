"""The process that decodes untrusted images: reads a file from a socket, answers with a PNG as the store keeps it.

    in    json {"max_pixels", "is_mask"}, then the file
    out   json {"size"}, then the PNG; or json {"error"}

It imports nothing heavy, so that a killed process is soon replaced.
"""

import json
import resource
import sys
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection

from actors.store.image_files import png_of
from actors.store.untrusted_images import BadImage, flatten, mask_of, read_image

BASE_BYTES, BYTES_PER_PIXEL = 2**30, 24
"""Memory limit of the process: its own, plus a few copies of the largest image."""


def main(handle: int) -> None:
    """Decode one image after another until the parent is gone."""
    warnings.simplefilter("ignore")
    with Connection(handle) as channel, suppress(EOFError, ConnectionError):
        while True:
            wanted, data = json.loads(channel.recv_bytes()), channel.recv_bytes()
            for part in _decode(data, **wanted):
                channel.send_bytes(part)


def _decode(data: bytes, max_pixels: int, is_mask: bool) -> list[bytes]:
    _bound_memory(BASE_BYTES + BYTES_PER_PIXEL * max_pixels)
    try:
        image = read_image(data, max_pixels)
        image = (mask_of(image) if is_mask else flatten(image)).convert("RGB")
        return [_json(size=image.size), png_of(image)]
    except BadImage as error:
        return [_json(error=str(error))]
    except MemoryError:
        return [_json(error="the image takes too much memory to read")]


def _bound_memory(num_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(ValueError, OSError):  # the system has no such limit, or a lower one
        resource.setrlimit(resource.RLIMIT_AS, (num_bytes, hard))


def _json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


if __name__ == "__main__":
    main(int(sys.argv[1]))
