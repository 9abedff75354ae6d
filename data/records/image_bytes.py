"""Images that records hold as bytes, as the hub's image columns do: stored in the cache folder, named by content."""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.cache import cache_folder
from data.errors import RecordError, type_error

IMAGE_FIELDS = ("origin_image_path", "edited_image_path", "images")
"""Fields of a record that hold an image or a list of images."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def images_folder() -> Path:
    """Return the folder of images named by content; every node of a run must see it."""
    return cache_folder() / "images"


def keep_image(data: bytes, folder: Path) -> str:
    """Write an image's bytes to `<folder>/ab/abcd...`, once, and return that path."""
    digest = hashlib.sha256(data).hexdigest()
    path = folder / digest[:2] / digest
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: other processes may write or read the same image.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(data)
        os.chmod(file.name, 0o644)  # temporary files are private to their owner
        os.replace(file.name, path)
    return str(path)


def bytes_in(image: object, field: str) -> bytes | None:
    """Return the bytes of an image's entry; None if it holds no bytes. Raises `RecordError`."""
    if not isinstance(image, dict) or not image.keys() <= {"bytes", "path"} or image.get("bytes") is None:
        return image if isinstance(image, bytes) else None
    data = image["bytes"]
    if not isinstance(data, bytes):
        raise RecordError("type", f"{field}: {type_error('bytes', data, 'bytes (Parquet has them, JSON cannot)').text}")
    return data


def path_in(image: Any) -> object:
    """Return the path of an image column's entry without bytes (None: no image); any other entry unchanged."""
    is_column = isinstance(image, dict) and "path" in image and image.keys() <= {"bytes", "path"}
    return image["path"] if is_column and image.get("bytes") is None else image


def by_content(record: object) -> object:
    """Return a record that JSON can hold: images held as bytes are stored and replaced by their digests."""

    def named(image: object) -> object:
        data = bytes_in(image, "")
        return image if data is None else {"sha256": Path(keep_image(data, images_folder())).name}

    return with_images(record, named)


def kept_path(image: object, field: str) -> str | None:
    """Return the path of an image that `by_content` stored; None for any other entry. Raises `RecordError`."""
    if not isinstance(image, dict) or image.keys() != {"sha256"}:
        return None
    digest = image["sha256"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise RecordError("type", f"field {field}: sha256 is not a hexadecimal digest")
    path = images_folder() / digest[:2] / digest
    if not path.is_file():
        text = f"field {field}: its image at {path} is gone; remove the cached copy of its file in {cache_folder()}"
        raise RecordError("image_missing", text)
    return str(path)


def with_images(record: object, change: Callable[[object], object]) -> Any:
    """Return a record with `change` applied to each of its images."""
    if not isinstance(record, dict):
        return record
    changed: dict[str, object] = {}
    for name in IMAGE_FIELDS:
        if name in record:
            value = record[name]
            changed[name] = [change(image) for image in value] if isinstance(value, list) else change(value)
    return {**record, **changed}
