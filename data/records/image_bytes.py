"""Images that records hold as bytes, as image columns of the hub do: kept in the cache folder, named by content."""

from __future__ import annotations

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
"""Of a record: an image, or a list of them."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def images_folder() -> Path:
    """Return where images are kept by content; all nodes of a run have to see it."""
    return cache_folder() / "images"


def keep_image(data: bytes, folder: Path) -> str:
    """Write an image's bytes to `<folder>/ab/abcd...`, once, and return that path."""
    digest = hashlib.sha256(data).hexdigest()
    path = folder / digest[:2] / digest
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(data)
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    return str(path)


def bytes_in(image: Any, field: str) -> bytes | None:
    """Return an image's bytes; None where its entry names a path, or is no image column's. Raises `RecordError`."""
    if not isinstance(image, dict) or not image.keys() <= {"bytes", "path"} or image.get("bytes") is None:
        return image if isinstance(image, bytes) else None
    data = image["bytes"]
    if not isinstance(data, bytes):
        raise RecordError("type", f"{field}: {type_error('bytes', data, 'bytes (Parquet has them, JSON cannot)').text}")
    return data


def path_in(image: Any) -> Any:
    """Return the path of an image column's entry without bytes (None: there is no image); any other entry as it is."""
    is_column = isinstance(image, dict) and "path" in image and image.keys() <= {"bytes", "path"}
    return image["path"] if is_column and image.get("bytes") is None else image


def by_content(record: Any) -> Any:
    """Return a record that JSON can say: images that it holds as bytes are kept, and named by their digest."""

    def named(image: Any) -> Any:
        data = bytes_in(image, "")
        return image if data is None else {"sha256": Path(keep_image(data, images_folder())).name}

    return with_images(record, named)


def kept_path(image: Any, field: str) -> str | None:
    """Return the path of an image that `by_content` named; None for any other entry. Raises `RecordError`."""
    if not isinstance(image, dict) or image.keys() != {"sha256"}:
        return None
    digest = image["sha256"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise RecordError("type", f"field {field}: sha256 is no digest in hexadecimal")
    path = images_folder() / digest[:2] / digest
    if not path.is_file():
        text = (
            f"field {field}: its image was kept at {path} and is gone; remove the copy of its file in {cache_folder()}"
        )
        raise RecordError("image_missing", text)
    return str(path)


def with_images(record: Any, change: Callable[[Any], Any]) -> Any:
    """Return a record with `change` made to each of its images."""
    if not isinstance(record, dict):
        return record
    changed: dict[str, Any] = {}
    for name in IMAGE_FIELDS:
        if name in record:
            value = record[name]
            changed[name] = [change(image) for image in value] if isinstance(value, list) else change(value)
    return {**record, **changed}
