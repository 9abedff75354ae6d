"""Images and paid-for answers on disk, named by content: shared by all processes of a run.

    <root>/images/ab/abcd...png     an image, named by the SHA-256 of its pixels' PNG bytes
    <root>/calls/ab/abcd....json    request and answer of a call, named by the SHA-256 of all the answer depends on

Writers never lock: a file appears by rename, complete or not at all, and equal content has an equal name.
A file's modification time says when it was last used (`actors/store/eviction.py` relies on it). If nodes share
no file system, each has its own store and a missing image comes from a peer
(`actors/store/peers.py` requests it, `actors/store/server.py` serves it).
"""

import hashlib
import io
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from actors.store.files import mark_used, read_used, sync_folder, write_whole
from actors.store.image_files import png_of
from actors.store.packed_images import find_packed, image_status, open_image_file
from actors.store.pixels import as_seen
from rollout.types import ImageRef

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Accepted image formats: a data set may come from anywhere, and some of Pillow's other formats start programs."""

_PREFIX = "sha256:"


class Store:
    """A content-addressed folder. Cheap to create, picklable, safe for concurrent writers."""

    def __init__(self, root: Path | str):
        # Absolute, because actors do not share the driver's working directory.
        self.root = Path(root).absolute()

    def put_image(self, image: Image.Image) -> ImageRef:
        """Commit an image and return its reference."""
        return self.put_png(png_of(as_seen(image)))

    def put_png(self, data: bytes) -> ImageRef:
        """Commit the bytes of a PNG and return its reference."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._path("images", digest, "png")
        if not mark_used(path):
            write_whole(path, data)
            sync_folder(path.parent)  # the ledger refers to it: the file has to be durable before the row
        return _PREFIX + digest

    def has_image(self, ref: ImageRef) -> bool:
        """Return whether an image is available, here or from a peer; if here, mark it as used now."""
        if mark_used(self.image_path(ref)):
            return True
        if not ref.startswith(_PREFIX):
            return find_packed(ref) is not None
        if not _has_ray():
            return False
        from actors.store.peers import is_with_a_peer  # late: most readers of a store do not need Ray

        return is_with_a_peer(self.root, ref.removeprefix(_PREFIX))

    def image_path(self, ref: ImageRef) -> Path:
        """Return the path of a reference's file."""
        if ref.startswith(_PREFIX):
            return self._path("images", ref.removeprefix(_PREFIX), "png")
        return Path(ref)

    def get_image(self, ref: ImageRef) -> Image.Image:
        """Load an image as people see it (`actors.store.pixels`), as RGB.

        Raises FileNotFoundError with the reference, OSError for an unsupported format, ValueError for unclear values.
        """
        with Image.open(io.BytesIO(self._bytes(ref)), formats=FORMATS) as image:
            return as_seen(image)

    def png_bytes(self, ref: ImageRef) -> bytes:
        """Return an image as PNG, whatever its file format. Raises FileNotFoundError with the reference."""
        return self._bytes(ref) if ref.startswith(_PREFIX) else png_of(self.get_image(ref))

    def digest(self, ref: ImageRef | None) -> str:
        """Return the content digest of an image; '' for no image. Raises FileNotFoundError."""
        if ref is None:
            return ""
        if ref.startswith(_PREFIX):
            return ref.removeprefix(_PREFIX)
        status = image_status(ref)
        return _file_digest(ref, status.st_mtime_ns, status.st_size)

    def get_call(self, key: str) -> Any | None:
        """Return the committed call with that key, or None; a damaged one counts as absent."""
        try:
            return json.loads(read_used(self._path("calls", key, "json")))
        except (FileNotFoundError, ValueError):
            return None

    def put_call(self, key: str, call: object) -> None:
        """Commit a call; a later one with the same key replaces it."""
        write_whole(self._path("calls", key, "json"), json.dumps(call).encode())

    def _bytes(self, ref: ImageRef) -> bytes:
        path = self.image_path(ref)
        try:
            return read_used(path)
        except FileNotFoundError:
            where = f"image {ref} is not at {path}"
        if not ref.startswith(_PREFIX) and (packed := find_packed(path)) is not None:
            return packed.read()
        if not ref.startswith(_PREFIX) or not _has_ray():
            raise FileNotFoundError(where)
        from actors.store.peers import fetch

        data = fetch(self.root, ref.removeprefix(_PREFIX), where)
        self.put_png(data)
        return data

    def _path(self, kind: str, digest: str, suffix: str) -> Path:
        return self.root / kind / digest[:2] / f"{digest}.{suffix}"


def call_key(**depends_on: object) -> str:
    """Return the key of a call: a digest of everything its answer depends on."""
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()


def white_canvas(like: Image.Image) -> Image.Image:
    """Return the white canvas that stands for "no image before"."""
    return Image.new("RGB", like.size, (255, 255, 255))


def load_images(store: Store, refs: tuple[ImageRef | None, ...]) -> list[Image.Image]:
    """Load images in order; None becomes a white canvas as large as the first real one."""
    loaded = [None if ref is None else store.get_image(ref) for ref in refs]
    real = next(image for image in loaded if image is not None)
    return [white_canvas(real) if image is None else image for image in loaded]


def _has_ray() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


@lru_cache(maxsize=4096)
def _file_digest(path: str, mtime_ns: int, size: int) -> str:
    with open_image_file(path) as file:
        return hashlib.sha256(file.read()).hexdigest()
