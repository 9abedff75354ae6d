"""Files of a store by name: in a folder, or in a bucket with a folder of copies. Which of them, the place decides here.

Whoever writes a name that stands for its content (`create`) may be one of many at once; a name that stands for a
question (`replace`) keeps its newest answer. A file is complete or not there.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from actors.store.bucket import Bucket, check_package
from actors.store.files import mark_used, read_used, sync_folder, write_whole
from actors.store.place import folder_of, is_bucket, placed


class Blobs(Protocol):
    """Files by names like images/ab/abcd.png. Cheap to create, picklable, safe for concurrent writers."""

    place: str
    """The folder's path or the bucket's URL, which holds for other processes too."""
    folder: Path
    """Where a file is on this machine once it was read or written here."""
    is_everywhere: bool
    """What a node wrote all nodes can read: there is nothing to ask other nodes for."""

    def create(self, name: str, data: bytes) -> None:
        """Commit the content that a name stands for; nothing is written where it is there. Raises OSError."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Commit the newest content of a name. Raises OSError."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content and mark it as used now. Raises FileNotFoundError, and OSError."""
        ...

    def has(self, name: str) -> bool:
        """Whether a file is there; if it is on this machine, mark it as used now. Raises OSError."""
        ...


def open_blobs(place: Path | str) -> Blobs:
    """Return the files of a store in a folder or a bucket. Raises ValueError where a bucket's package is missing."""
    where = placed(place)
    if not is_bucket(where):
        return FolderBlobs(where, Path(where))
    check_package(where)
    return BucketBlobs(where)


@dataclass(eq=False)
class FolderBlobs:
    """Files of a folder, which nodes may share or not."""

    place: str
    folder: Path
    is_everywhere = False

    def create(self, name: str, data: bytes) -> None:
        path = self.folder / name
        if not mark_used(path):
            write_whole(path, data)
            sync_folder(path.parent)  # the ledger refers to it: the file has to be durable before the row

    def replace(self, name: str, data: bytes) -> None:
        write_whole(self.folder / name, data)

    def read(self, name: str) -> bytes:
        return read_used(self.folder / name)

    def has(self, name: str) -> bool:
        return mark_used(self.folder / name)


class BucketBlobs:
    """Objects of a bucket; what was read or written is kept in a folder of this machine, too.

    What stands for its content is in the bucket before it is in the folder. An answer is in the folder first, under
    `unsent/`, and goes into the bucket after the ledger's row of its call (`actors/shipping/shipper.py`); where no
    shipper of this machine takes it, it goes at once.
    """

    is_everywhere = True

    def __init__(self, place: str):
        self.place, self.folder = place, folder_of(place)
        self._bucket = Bucket(place)
        self._copies = FolderBlobs(str(self.folder), self.folder)

    def create(self, name: str, data: bytes) -> None:
        if not self._copies.has(name):
            self._bucket.create(name, data)
            self._copies.create(name, data)

    def replace(self, name: str, data: bytes) -> None:
        path = unsent(self.folder) / name
        write_whole(path, data)
        sync_folder(path.parent)
        if not is_shipped(self.folder):
            send(self._bucket, self.folder, name)

    def read(self, name: str) -> bytes:
        for path in (unsent(self.folder) / name, self.folder / name):
            try:
                return read_used(path)
            except FileNotFoundError:
                continue  # between the two it moves from the first to the second
        data = self._bucket.read(name)
        self._copies.create(name, data)
        return data

    def has(self, name: str) -> bool:
        return mark_used(unsent(self.folder) / name) or self._copies.has(name) or self._bucket.has(name)


def unsent(folder: Path) -> Path:
    """Return where answers are that are on this machine alone."""
    return folder / "unsent"


def send(bucket: Bucket, folder: Path, name: str) -> None:
    """Put an unsent answer into the bucket; nothing is done if it was sent in the meantime. Raises OSError."""
    path, copy = unsent(folder) / name, folder / name
    with suppress(FileNotFoundError):
        bucket.replace(name, path.read_bytes())
        copy.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, copy)


@contextmanager
def shipping_from(folder: Path) -> Iterator[None]:
    """Have the processes of this machine leave their answers to the caller, until the end or the caller's death.

    The folder is on a disk of this machine, where a lock holds and ends with its process.
    """
    sign = _signs(folder) / uuid.uuid4().hex
    sign.parent.mkdir(parents=True, exist_ok=True)
    with sign.open("xb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield
        finally:
            sign.unlink(missing_ok=True)


def is_shipped(folder: Path) -> bool:
    """Whether a living process of this machine ships what is unsent."""
    return any(map(_is_held, _signs(folder).glob("*")))


def _is_held(sign: Path) -> bool:
    with suppress(FileNotFoundError), sign.open("rb") as asked:
        try:
            fcntl.flock(asked, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _signs(folder: Path) -> Path:
    return folder / "shippers"
