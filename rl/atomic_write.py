"""Write a file whole or not at all: a job that is killed meanwhile has to go on later."""

import errno
import os
from contextlib import suppress
from pathlib import Path


def atomic_write(path: Path, content: str | bytes) -> None:
    """Put `content` (text: as UTF-8) at `path`, which holds all of it or what it held before, whenever this ends.

    Half a character (a lone surrogate) in a text stands as its code, as in JSON: that costs no run its report.
    Folders that are missing are made. Raises OSError that names `path`, as one of a full disk would not, and for what
    is no file there: a device, say, whose place a file must not take.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "it is no file, and is not replaced by one", str(path))
    unfinished = path.with_name(f".{path.name}.unfinished")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        unfinished.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
        os.replace(unfinished, path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
