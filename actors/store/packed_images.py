"""Image folders in one file: without a folder `images`, `images/3f/a.png` is read from `images.zip` in its place.

Records and ledgers name an image as if its folder existed, so packing or unpacking changes no reference and no
digest. Members are named as `zip -0r images.zip images` names them. An archive is read in place and nothing is written,
so it may be on a read-only disk and be read by any number of processes.
"""

import io
import os
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_BYTES = 2**30
"""Size limit of one image: a few bytes in an archive may unpack to far more."""
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


class PackedImage(NamedTuple):
    """An image in an archive."""

    archive: str
    member: str

    def read(self) -> bytes:
        """Return the bytes of the image's file. Raises OSError if the archive is damaged."""
        try:
            with _archive(self.archive).open(self.member) as file:
                data = file.read(MAX_BYTES + 1)
        except Exception as error:  # on a damaged archive zipfile may raise anything
            raise OSError(f"{self.member} cannot be read from {self.archive}: {error}") from error
        if len(data) > MAX_BYTES:
            raise OSError(f"{self.member} in {self.archive} has more than {MAX_BYTES:,} bytes")
        return data


def find_packed(path: Path | str) -> PackedImage | None:
    """Return an image in its folder's archive; None if it has none. Raises OSError for a damaged archive."""
    path = os.fspath(path)
    folder = os.path.dirname(path)
    while os.path.basename(folder):
        parent = os.path.dirname(folder)
        member = path[len(parent) :].lstrip("/")
        if os.path.isfile(f"{folder}.zip") and member in _archive(f"{folder}.zip").NameToInfo:
            return PackedImage(f"{folder}.zip", member)
        folder = parent
    return None


def open_image_file(path: Path | str) -> BinaryIO:
    """Open an image's file, packed or not. Raises FileNotFoundError, and OSError for a damaged archive."""
    try:
        return Path(path).open("rb")
    except _NOT_THERE:
        packed = find_packed(path)
        if packed is None:
            raise
    return io.BytesIO(packed.read())


def image_status(path: Path | str) -> os.stat_result:
    """Return size and times of an image's file, or of the archive that holds it. Raises FileNotFoundError."""
    try:
        return os.stat(path)
    except _NOT_THERE:
        packed = find_packed(path)
        if packed is None:
            raise
    return os.stat(packed.archive)


def pack_images(folder: Path, archive: Path) -> None:
    """Write the files of a folder to an archive, uncompressed: an image is compressed already.

    The archive's bytes depend only on the files' names and contents.
    """
    files = {path.relative_to(folder.parent).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    with zipfile.ZipFile(archive, "w") as packed:
        for name in sorted(files):
            member = zipfile.ZipInfo(name)
            member.external_attr = 0o644 << 16
            packed.writestr(member, files[name].read_bytes())


def _archive(path: str) -> zipfile.ZipFile:
    status = os.stat(path)
    # One for each process: the file's position must not be shared with a forked child.
    return _opened(path, status.st_mtime_ns, status.st_size, os.getpid())


@lru_cache(maxsize=16)
def _opened(path: str, mtime_ns: int, size: int, pid: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise OSError(f"{path} cannot be read: {error}") from error
