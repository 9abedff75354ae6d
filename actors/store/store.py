"""Images and paid-for answers on disk, named by content: shared by all processes of a run.

    <root>/images/ab/abcd...png     an image, named by the SHA-256 of its pixels' PNG bytes
    <root>/calls/ab/abcd....json    request and answer of a call, named by the SHA-256 of all the answer depends on

Writers never lock: a file appears by rename, complete or not at all, and equal content has an equal name.
A file's modification time says when it was last used (`actors/store/eviction.py` relies on it). If nodes share
no file system, each has its own store and a missing image comes from a peer
(`actors/store/peers.py` requests it, `actors/store/server.py` serves it); or the store is a bucket, and
each machine has a folder of copies (`actors/store/blobs.py`).
"""

import hashlib
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from actors.store.blobs import open_blobs
from actors.store.files import mark_used, read_used
from actors.store.image_files import png_of
from actors.store.image_formats import UnreadableImage, decoded
from actors.store.packed_images import find_packed, image_status, open_image_file
from actors.store.pixels import UnclearImage, as_seen
from rollout.types import ImageRef

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Accepted image formats: a data set may come from anywhere, and some of Pillow's other formats start programs."""

NO_IMAGE = (FileNotFoundError, UnreadableImage, UnclearImage)
"""What `Store.get_image` raises for an image that cannot be shown to anyone, however often it is asked for."""

_PREFIX = "sha256:"


class Store:
    """A content-addressed folder or bucket. Cheap to create, picklable, safe for concurrent writers.

    `root` is the folder, or the one in which this machine has its copies of a bucket's files; `place` names the store
    for other processes.
    """

    def __init__(self, place: Path | str):
        self._blobs = open_blobs(place)
        self.place, self.root = self._blobs.place, self._blobs.folder

    def put_image(self, image: Image.Image) -> ImageRef:
        """Commit an image and return its reference."""
        return self.put_png(png_of(as_seen(image)))

    def put_png(self, data: bytes) -> ImageRef:
        """Commit the bytes of a PNG and return its reference."""
        digest = hashlib.sha256(data).hexdigest()
        self._blobs.create(_name("images", digest, "png"), data)
        return _PREFIX + digest

    def has_image(self, ref: ImageRef) -> bool:
        """Return whether an image is available, here or elsewhere; if here, mark it as used now."""
        if not ref.startswith(_PREFIX):
            return mark_used(Path(ref)) or find_packed(ref) is not None
        if self._blobs.has(_image_name(ref)):
            return True
        if self._blobs.is_everywhere or not _has_ray():
            return False
        from actors.store.peers import is_with_a_peer  # late: most readers of a store do not need Ray

        return is_with_a_peer(self.root, ref.removeprefix(_PREFIX))

    def image_path(self, ref: ImageRef) -> Path:
        """Return the path of a reference's file on this machine, whether or not it is there yet (`image_file`)."""
        return self.root / _image_name(ref) if ref.startswith(_PREFIX) else Path(ref)

    def image_file(self, ref: ImageRef) -> Path:
        """Return the path of an image's file, fetched from elsewhere if need be. Raises FileNotFoundError."""
        path = self.image_path(ref)
        if ref.startswith(_PREFIX) and not path.exists():
            self._bytes(ref)
        return path

    def get_image(self, ref: ImageRef) -> Image.Image:
        """Load an image as people see it (`actors.store.pixels`), as RGB.

        Raises FileNotFoundError, `UnreadableImage` (an OSError) and `UnclearImage` (a ValueError) with the reference.
        """
        return decoded(self._bytes(ref), f"image {ref}", FORMATS)

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
        """Return the committed call with that key, or None; a damaged one counts as absent. Raises OSError."""
        try:
            return json.loads(self._blobs.read(call_name(key)))
        except (FileNotFoundError, ValueError):
            return None

    def put_call(self, key: str, call: object) -> None:
        """Commit a call; a later one with the same key replaces it."""
        self._blobs.replace(call_name(key), json.dumps(call).encode())

    def _bytes(self, ref: ImageRef) -> bytes:
        is_ours, path = ref.startswith(_PREFIX), self.image_path(ref)
        try:
            return self._blobs.read(_image_name(ref)) if is_ours else read_used(path)
        except FileNotFoundError:
            where = f"image {ref} is not at {self.place if self._blobs.is_everywhere and is_ours else path}"
        if not is_ours and (packed := find_packed(path)) is not None:
            return packed.read()
        if not is_ours or self._blobs.is_everywhere or not _has_ray():
            raise FileNotFoundError(where)
        from actors.store.peers import fetch

        data = fetch(self.root, ref.removeprefix(_PREFIX), where)
        self.put_png(data)
        return data


def call_name(key: str) -> str:
    """Return the name of a call's file in a store."""
    return _name("calls", key, "json")


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


def _image_name(ref: ImageRef) -> str:
    return _name("images", ref.removeprefix(_PREFIX), "png")


def _name(kind: str, digest: str, suffix: str) -> str:
    return f"{kind}/{digest[:2]}/{digest}.{suffix}"


def _has_ray() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


@lru_cache(maxsize=4096)
def _file_digest(path: str, mtime_ns: int, size: int) -> str:
    with open_image_file(path) as file:
        return hashlib.sha256(file.read()).hexdigest()
