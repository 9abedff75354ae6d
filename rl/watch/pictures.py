"""Images of a run's newest groups for its page: read within bounds, shrunk, and written anew, whatever the file was."""

import re
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from actors.store.image_files import small_copy, suffix_of
from actors.store.packed_images import open_image_file
from actors.store.store import Store
from actors.store.untrusted_images import flatten, read_image
from rollout.types import ImageRef

_NAME = re.compile(r"[0-9a-f]{64}")
_SIDE, _LOSSLESS_SIDE = 640, 128
_MAX_BYTES = 64 * 2**20
_MAX_PIXELS = 64_000_000


def picture(images: Mapping[str, ImageRef], name: str, store: Path | str | None) -> tuple[bytes, str] | None:
    """Return a small copy of an image that a page was told of, and its media type; None where there is none."""
    ref = images.get(name) if _NAME.fullmatch(name) else None
    try:
        path = None if ref is None else _path_of(ref, store)
        data = None if path is None else _small(path)
    except (OSError, ValueError):
        return None
    return None if data is None else (data, f"image/{suffix_of(data)}")


def _path_of(ref: ImageRef, store: Path | str | None) -> Path | None:
    """Return where an image is; a reference into the store must be a digest, so that it leads nowhere else."""
    if not ref.startswith("sha256:"):
        return Path(ref)
    is_digest = _NAME.fullmatch(ref.removeprefix("sha256:"))
    return Store(store).image_file(ref) if store is not None and is_digest else None


@lru_cache(maxsize=256)
def _small(path: Path) -> bytes:
    """Return a small copy. Raises OSError or ValueError; not kept, as an image that is missing may still come."""
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):  # a pipe or a device would never end
        raise ValueError("not a file")
    with open_image_file(path) as file:  # not through the store: to look at an image is not to use it
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError("too large")
    return small_copy(flatten(read_image(data, _MAX_PIXELS)), _SIDE, lossless_side=_LOSSLESS_SIDE)
