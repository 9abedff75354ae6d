"""Copy a model's folder for others: what it holds, and nothing that a link in it leads to elsewhere."""

import shutil
from pathlib import Path


def copy_model(source: Path, target: Path) -> None:
    """Copy a folder. Raises ValueError for what cannot be copied, a link that leaves it among others.

    The hub's cache may link to its own files.
    """
    source = source.resolve()
    homes = [source]
    if source.parent.name == "snapshots":
        homes.append(source.parent.parent / "blobs")
    for path in source.rglob("*"):
        to = path.resolve()
        if path.is_symlink() and (to.is_dir() or not any(to.is_relative_to(home) for home in homes)):
            raise ValueError(
                f"{path} is a link to {to}; a bundle takes no link to folders or out of {source}: copy it in"
            )
    try:
        shutil.copytree(source, target)
    except shutil.Error as error:  # of all files at once
        raise ValueError(f"{source} cannot be copied: {error.args[0][0][2]}") from None
