"""Rows as people publish them: each has a name of its own, and its pictures are files that it names."""

from collections import Counter
from pathlib import Path

from evals.official.benchmark import Item
from evals.official.rows import Row, value_of


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


def file_name(row: Row, key: str, where: str) -> str:
    """Return a row's value that a hand-in has as the name of a file or folder. Raises ValueError for a path.

    >>> file_name({"index": 7}, "index", "row 7")
    '7'
    """
    name = str(value_of(row, key, where))
    if not name or name != Path(name).name or "\\" in name or name == "..":
        raise ValueError(f"{where}: {key} is {name!r}, expected what can be the name of a file")
    return name
