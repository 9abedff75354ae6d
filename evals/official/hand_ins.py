"""Files of a hand-in: written whole, and only where they are not there yet, so that a later start adds what is new."""

import io
import json
import os
from pathlib import Path

from actors.store.files import naming
from actors.store.store import Store
from rollout.types import ImageRef

MODEL = "interleave"
"""The agent's name where a hand-in has a folder or a file for each model."""


def write_image(store: Store, ref: ImageRef, path: Path) -> None:
    """Write an image as PNG."""
    _write(path, store.png_bytes(ref))


def write_jpeg(store: Store, ref: ImageRef, path: Path) -> None:
    """Write an image as JPEG, hardly compressed."""
    data = io.BytesIO()
    store.get_image(ref).save(data, "JPEG", quality=95)
    _write(path, data.getvalue())


def write_json(content: object, path: Path) -> None:
    """Write JSON, readable."""
    _write(path, json.dumps(content, indent=1, ensure_ascii=False).encode())


def write_text(text: str, path: Path) -> None:
    """Write a text in UTF-8."""
    _write(path, text.encode())


def _write(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with naming(path):
            unfinished.write_bytes(data)
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
