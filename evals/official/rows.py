"""Rows of benchmarks as they are published: JSON, JSON lines and Parquet, with images beside them or inside."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actors.store.image_formats import decoded
from actors.store.store import FORMATS, Store
from rollout.text.marks import read_text
from rollout.text.type_names import json_type
from rollout.types import ImageRef

Row = Mapping[str, Any]


def read_rows(folder: Path, patterns: Sequence[str], *, get: str, without: Sequence[str] = ()) -> list[Row]:
    """Return the rows of the files that the first fitting pattern finds below a folder, in the order of their names.

    A file is a JSON list, JSON lines or Parquet; one whose name holds a text of `without` is passed over. Raises
    ValueError; `get` says where the data come from.
    """
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if files := [file for file in found if not any(text in file.name for text in without)]:
            return [row for file in files for row in _rows_of(file)]
    raise ValueError(f"--data {folder} holds no {' and no '.join(patterns)}; get {get}")


def value_of(row: Row, key: str, where: str) -> Any:
    """Return a row's value. Raises ValueError that names the row."""
    if row.get(key) is None:
        raise ValueError(f"{where} has no {key}; it has {', '.join(sorted(map(str, row)))}")
    return row[key]


def image_in(value: object, folder: Path, store: Store, where: str) -> ImageRef:
    """Return a row's image: a path relative to `folder`, or Parquet's {bytes, path}; it has been decoded whole.

    Raises ValueError with the row, the file and what is wrong with it.
    """
    data, path = (value.get("bytes"), value.get("path")) if isinstance(value, Mapping) else (value, value)
    try:
        if isinstance(data, bytes):
            return store.put_image(decoded(data, f"image {path}" if isinstance(path, str) else "image", FORMATS))
        if not isinstance(path, str | Path):
            raise ValueError(f"image is {json_type(value)}, expected a path, or bytes as Parquet holds them")
        file = str((folder / path).absolute())
        store.get_image(file)  # all of it: whether a file was cut off is seen at its end
        return file
    except (OSError, ValueError) as error:
        raise ValueError(f"{where}: its {error}") from None


def _rows_of(file: Path) -> list[Row]:
    if file.suffix == ".parquet":
        import pyarrow.parquet  # late: it takes long, and few data need it

        rows: list[Row] = pyarrow.parquet.read_table(file).to_pylist()
        return rows
    text = read_text(file)
    try:
        if file.suffix == ".jsonl":
            found = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ValueError(f"{file} is no list of objects")
    return found
