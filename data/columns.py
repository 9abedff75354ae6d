"""Records in Arrow tables: Parquet files and Hugging Face `datasets` folders, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import RecordError
from data.readers import Raw

_NUM_ROWS = 128
"""Rows held at once: they may hold whole conversations."""


class ParquetRows:
    """One record a row of a Parquet file."""

    def __init__(self, path: Path):
        self.path = path
        self.position = 0
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise RecordError("file", f"{path} is no Parquet file that can be read ({error})") from None
        self.size = self._file.metadata.num_rows

    def where(self, number: int) -> str:
        return f"{self.path}: row {number}"

    def __iter__(self) -> Iterator[Raw]:
        number = 0
        for group in range(self._file.num_row_groups):
            end = number + self._file.metadata.row_group(group).num_rows
            try:
                for batch in self._file.iter_batches(_NUM_ROWS, row_groups=[group]):
                    for value in batch.to_pylist():
                        number += 1
                        self.position = number
                        yield Raw(number, value)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                text = f"rows {number + 1} to {end} cannot be read ({error})"
                yield Raw(number + 1, None, RecordError("file", text, where=self.where(number + 1)))
            number = end


class DatasetRows:
    """One record a row of a folder that `datasets.Dataset.save_to_disk` wrote."""

    def __init__(self, path: Path):
        self.path = path
        self.position = 0
        splits = sorted(folder.parent.name for folder in path.glob("*/dataset_info.json"))
        if (path / "dataset_dict.json").exists():
            raise RecordError("file", f"{path} holds the splits {', '.join(splits)}; name one, like {path}/{splits[0]}")
        if not (path / "state.json").exists():
            raise RecordError("file", f"{path} is a folder, but not one that Hugging Face `datasets` saved")
        import datasets  # late: it takes seconds

        try:
            self._table = datasets.load_from_disk(str(path)).with_format("arrow")
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise RecordError("file", f"{path} cannot be loaded by `datasets` ({error})") from None
        self.size = len(self._table)

    def where(self, number: int) -> str:
        return f"{self.path}: row {number}"

    def __iter__(self) -> Iterator[Raw]:
        number = 0
        for start in range(0, self.size, _NUM_ROWS):
            try:
                rows = self._table[start : start + _NUM_ROWS].to_pylist()
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                text = f"rows from here to {min(start + _NUM_ROWS, self.size)} cannot be read ({error})"
                yield Raw(start + 1, None, RecordError("file", text, where=self.where(start + 1)))
                continue
            for number, value in enumerate(rows, start + 1):
                self.position = number
                yield Raw(number, value)
