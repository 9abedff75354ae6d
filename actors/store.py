"""Images and paid-for answers on disk, named by content: shared by all processes of a run.

    <root>/images/ab/abcd...png     an image by the SHA-256 of its pixels' PNG bytes
    <root>/calls/ab/abcd....json    a call, by the SHA-256 of everything its answer depends on: request and answer

Writers never lock: a file appears by rename, complete or not at all, and equal content has an equal name.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from rollout.types import ImageRef

_PREFIX = "sha256:"


class Store:
    """A content-addressed folder. Cheap to make, safe to pickle, safe for many writers."""

    def __init__(self, root: Path | str):
        # Absolute, because actors do not share the driver's working directory.
        self.root = Path(root).absolute()

    def put_image(self, image: Image.Image) -> ImageRef:
        """Commit an image and return its reference."""
        data = _encode(image)
        digest = hashlib.sha256(data).hexdigest()
        path = self._path("images", digest, "png")
        if not path.exists():
            _write(path, data)
        return _PREFIX + digest

    def image_path(self, ref: ImageRef) -> Path:
        """Return the file of an image reference."""
        if ref.startswith(_PREFIX):
            return self._path("images", ref.removeprefix(_PREFIX), "png")
        return Path(ref)

    def get_image(self, ref: ImageRef) -> Image.Image:
        """Load an image as RGB. Raises FileNotFoundError with the reference."""
        path = self.image_path(ref)
        if not path.exists():
            raise FileNotFoundError(f"image {ref} is not at {path}")
        with Image.open(path) as image:
            return image.convert("RGB")

    def png_bytes(self, ref: ImageRef) -> bytes:
        """Return an image as PNG, whatever its file's format. Raises FileNotFoundError with the reference."""
        if ref.startswith(_PREFIX) and (path := self.image_path(ref)).exists():
            return path.read_bytes()
        return _encode(self.get_image(ref))

    def digest(self, ref: ImageRef | None) -> str:
        """Return the content digest of an image; '' for no image. Raises FileNotFoundError."""
        if ref is None:
            return ""
        if ref.startswith(_PREFIX):
            return ref.removeprefix(_PREFIX)
        status = Path(ref).stat()
        return _file_digest(ref, status.st_mtime_ns, status.st_size)

    def get_call(self, key: str) -> Any | None:
        """Return the committed call of that key, or None; a damaged one counts as absent."""
        try:
            return json.loads(self._path("calls", key, "json").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def put_call(self, key: str, call: Any) -> None:
        """Commit a call; a later one of the same key takes its place."""
        _write(self._path("calls", key, "json"), json.dumps(call).encode())

    def _path(self, kind: str, digest: str, suffix: str) -> Path:
        return self.root / kind / digest[:2] / f"{digest}.{suffix}"


def call_key(**depends_on: Any) -> str:
    """Return the name of a call: a digest of everything its answer depends on."""
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()


def white_canvas(like: Image.Image) -> Image.Image:
    """Return the white canvas that stands for "no image before"."""
    return Image.new("RGB", like.size, (255, 255, 255))


def load_images(store: Store, refs: tuple[ImageRef | None, ...]) -> list[Image.Image]:
    """Load images in order; None becomes a white canvas as large as the first real one."""
    loaded = [None if ref is None else store.get_image(ref) for ref in refs]
    real = next(image for image in loaded if image is not None)
    return [white_canvas(real) if image is None else image for image in loaded]


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()


@lru_cache(maxsize=4096)
def _file_digest(path: str, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
