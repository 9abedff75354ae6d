"""An index on disk: rows to memory-map instead of reading the records again. A stale one is rebuilt."""

import hashlib
import io
import json
import os
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data.cache import cache_folder

_TRAILER = struct.Struct("<Q8s")
"""Ends the file: the length of the JSON before it (the source's state, and notes), and a magic number."""
_MARK = b"ilvindx1"
_SMALL = 8 * 2**20
"""Bytes below which a source is indexed each time and the index is never written."""

Rows = NDArray[np.void]
Notes = Mapping[str, Any]
Build = Callable[[BinaryIO, Path], Notes]
"""Writes rows, may use a folder for its own files, and returns notes to keep with the rows."""


def open_index(source: Path, dtype: np.dtype, build: Build, *, key: str = "") -> tuple[Rows, Notes]:
    """Return the rows and notes of `source`'s index; make it if there is none or the source has changed.

    It is next to the source, or in the cache folder if that cannot be written. `key` names what else it depends on.
    """
    state = source.stat()
    stamp = {"dtype": str(dtype), "key": key, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    if state.st_size < _SMALL:
        rows = io.BytesIO()
        with tempfile.TemporaryDirectory() as folder:
            notes = build(rows, Path(folder))
        return np.frombuffer(rows.getvalue(), dtype), notes
    places = _places(source, key)
    for place in places:
        found = _load(place, dtype, stamp)
        if found is not None:
            return found
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as folder:
                _write(Path(folder) / "index", stamp, build).replace(place)
        except OSError:
            continue
        found = _load(place, dtype, stamp)
        if found is None:
            raise ValueError(f"{source} changed while its index was made; start again when it is complete")
        return found
    where = " nor ".join(str(place.parent) for place in places)
    raise ValueError(f"neither {where} can hold the index of {source.name}; set XDG_CACHE_HOME to a folder that can")


def _places(source: Path, key: str) -> tuple[Path, Path]:
    suffix = f".{hashlib.sha256(key.encode()).hexdigest()[:8]}" if key else ""
    name = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:16]
    beside = source.with_name(f"{source.name}{suffix}.index")
    return beside, cache_folder() / f"{source.name}.{name}{suffix}.index"


def _write(path: Path, stamp: dict[str, object], build: Build) -> Path:
    with path.open("wb") as file:
        notes = build(file, path.parent)
        about = json.dumps({"stamp": stamp, "notes": notes}).encode()
        file.write(about)
        file.write(_TRAILER.pack(len(about), _MARK))
    return path


def _load(place: Path, dtype: np.dtype, stamp: dict[str, object]) -> tuple[Rows, Notes] | None:
    try:
        with place.open("rb") as file:
            end = file.seek(-_TRAILER.size, os.SEEK_END)
            length, mark = _TRAILER.unpack(file.read())
            if mark != _MARK or length > end:
                return None
            file.seek(end - length)
            about = json.loads(file.read(length))
    except (OSError, ValueError):
        return None
    num_rows, left = divmod(end - length, dtype.itemsize)
    if about["stamp"] != stamp or left:
        return None
    if num_rows == 0:
        return np.empty(0, dtype), about["notes"]
    return np.memmap(place, dtype, mode="r", shape=(num_rows,)), about["notes"]
