"""A log on disk of the images that a file's records name, to be checked once each."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.table.digest_log import DigestLog, digest_of


class NamedImage(NamedTuple):
    """An image, and the first record that names it."""

    offset: int
    """Its offset in the log, which `at` takes."""
    number: int
    path: str


class ImageLog:
    """Logs the images of each record in turn."""

    def __init__(self, folder: Path):
        self._path = folder / "images"
        self._file = self._path.open("wb")
        self._digests = DigestLog(folder / "image_digests")
        self._last: tuple[str, ...] = ()
        self.folder = folder

    def add(self, paths: Sequence[str], number: int) -> None:
        for path in paths:
            if path in self._last:
                continue  # an attempt's result is often the next one's start
            self._digests.add(digest_of(path), self._file.tell())
            self._file.write(json.dumps([number, path]).encode() + b"\n")
        self._last = tuple(paths)

    def distinct(self) -> tuple[int, Iterator[NamedImage]]:
        """Return the number of different images, and the images in the order in which they first appear."""
        self._file.flush()
        first = np.concatenate([np.empty(0, np.uint64), *self._digests.first()])
        first.sort()
        return len(first), self._read(first)

    def at(self, offset: int) -> NamedImage:
        with self._path.open("rb") as file:
            file.seek(offset)
            number, path = json.loads(file.readline())
        return NamedImage(offset, number, path)

    def _read(self, offsets: np.ndarray) -> Iterator[NamedImage]:
        with self._path.open("rb") as file:
            for offset in offsets.tolist():
                file.seek(offset)
                number, path = json.loads(file.readline())
                yield NamedImage(offset, number, path)
