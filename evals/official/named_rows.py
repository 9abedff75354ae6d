"""Rows as people publish them: each has a name of its own, and its pictures are files that it names."""

from collections import Counter
from pathlib import Path

from evals.official.benchmark import Item


def image_file(data: Path, name: object, where: str) -> Path:
    """Return the file that rows name by a path below the data's folder, or below one in it. Raises ValueError."""
    for folder in (data, *sorted(path for path in data.iterdir() if path.is_dir())):
        if (folder / str(name)).is_file():
            return folder / str(name)
    raise ValueError(f"{where}: there is no image {name} below {data}")


def with_own_ids(items: list[Item], data: Path) -> list[Item]:
    """Return items of which no two have one name. Raises ValueError: the hand-in would have one file for both."""
    name, count = Counter(item.id for item in items).most_common(1)[0] if items else ("", 0)
    if count != 1:
        raise ValueError(f"--data {data} has {count} rows of {name!r}; expected rows, each with its own name, once")
    return items
