"""Rows that name files: their pictures below the data, and what is handed in for them."""

from pathlib import Path

from evals.official.rows import Row, value_of


def image_file(data: Path, name: object, where: str) -> Path:
    """Return the file that rows name by a path below the data's folder, or below one in it. Raises ValueError."""
    for folder in (data, *sorted(path for path in data.iterdir() if path.is_dir())):
        if (folder / str(name)).is_file():
            return folder / str(name)
    raise ValueError(f"{where}: there is no image {name} below {data}")


def file_name(row: Row, key: str, where: str) -> str:
    """Return a row's value that a hand-in has as the name of a file or folder. Raises ValueError for a path.

    >>> file_name({"index": 7}, "index", "row 7")
    '7'
    """
    name = str(value_of(row, key, where))
    if not name or name != Path(name).name or "\\" in name or name == "..":
        raise ValueError(f"{where}: {key} is {name!r}, expected what can be the name of a file")
    return name
