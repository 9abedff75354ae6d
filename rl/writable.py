"""Whether a folder can be written into, tried before anything starts."""

import errno
import os
import tempfile
from pathlib import Path

from actors.store.place import CACHE_VARIABLE, folder_of, is_bucket

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors of a disk that takes no more, of this user or in one file (`ulimit -f`)."""


def check_store(place: str) -> None:
    """Raise ValueError where a recipe's store cannot be written; of a bucket, where its copies cannot be kept."""
    if is_bucket(place):
        check_writable(folder_of(place), f"the folder for copies of store={place} ({CACHE_VARIABLE})")
    else:
        check_writable(Path(place), "store")


def check_file_writable(file: Path, key: str) -> None:
    """Raise ValueError that names `key` where a file cannot be written, or be replaced by another.

    A device like /dev/null is refused, too: a file that is written whole would take its place.
    """
    if file.exists() and not file.is_file():
        raise ValueError(f"{key} is {file}, which is {'a folder' if file.is_dir() else 'no file'}; expected a file")
    check_writable(file.parent, f"the folder of {key}")


def check_writable(folder: Path, key: str) -> None:
    """Raise ValueError that names `key` where no file could be made in a folder, or the folder itself not be made.

    Nothing stays: of a folder that is not there yet, the nearest one above it is tried. Asking for the mode would not
    do: root may write anywhere, but not on a disk that is read-only.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".tried-", dir=there))
    except OSError as error:
        is_dangling = there.is_symlink() and not there.exists()
        reason = "a link that leads nowhere" if is_dangling else os.strerror(error.errno or 0)
        where = "" if there == folder else f" at {there}"
        raise ValueError(
            f"{key} is {folder}, which cannot be written to by user {os.getuid()}{where}: {reason}; expected a folder "
            "that can be made and written to"
        ) from None
