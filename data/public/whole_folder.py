"""A folder that appears whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.store.files import naming


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield the path at which to make a folder that becomes `out`; nothing stays where this raises.

    Raises ValueError where there is something already.
    """
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out} is there already; name a folder that is not, or remove it")
    unfinished = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with naming(out):
            yield unfinished
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished.rename(out)  # onto an empty folder, too
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
