"""Records in Arrow tables: Parquet files and Hugging Face `datasets` folders, a few rows at a time."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from data.errors import RecordError, shown
from data.formats.raw import RawRecord, name_of, place_in

_NUM_ROWS = 128
"""Rows held at once: few, since each may hold a whole conversation."""
_NO_VALUE = (pa.ArrowException, ValueError, OverflowError, KeyError)
"""Raised by a value that Python cannot hold: a date after the year 9999, bytes that are not UTF-8."""


class ParquetRows:
    """One record per row of a Parquet file."""

    unit = "row"

    def __init__(self, path: Path):
        self.path = path
        self.folder, self.name = path.parent, name_of(path)
        self.position = self.last = 0
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise RecordError("file", f"{path} is not a readable Parquet file ({error})") from None
        _check_names(self._file.schema_arrow, path)
        self.size = self._file.metadata.num_rows

    def where(self, number: int) -> str:
        return place_in(self.path, self.unit, number)

    def __iter__(self) -> Iterator[RawRecord]:
        number = 0
        # By row group: damage to one leaves the others readable.
        for group in range(self._file.num_row_groups):
            end = number + self._file.metadata.row_group(group).num_rows
            try:
                for batch in self._file.iter_batches(_NUM_ROWS, row_groups=[group]):
                    for raw in _rows_of(batch, number + 1, self.where):
                        number = self.position = raw.number
                        yield raw
            except (pa.ArrowException, OSError) as error:
                text = f"rows {number + 1} to {end} cannot be read ({error})"
                yield RawRecord(number + 1, None, RecordError("file", text, where=self.where(number + 1)))
            number = self.last = end


class DatasetRows:
    """One record per row of a folder that `datasets.Dataset.save_to_disk` wrote."""

    unit = "row"

    def __init__(self, path: Path):
        self.path = path
        self.folder, self.name = path.parent, name_of(path)
        self.position = self.last = 0
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
        _check_names(self._table.data.schema, path)
        self.size = len(self._table)

    def where(self, number: int) -> str:
        return place_in(self.path, self.unit, number)

    def __iter__(self) -> Iterator[RawRecord]:
        for start in range(0, self.size, _NUM_ROWS):
            try:
                rows = self._table[start : start + _NUM_ROWS]
            except (pa.ArrowException, OSError) as error:
                text = f"rows from here to {min(start + _NUM_ROWS, self.size)} cannot be read ({error})"
                yield RawRecord(start + 1, None, RecordError("file", text, where=self.where(start + 1)))
                continue
            for raw in _rows_of(rows, start + 1, self.where):
                self.position = raw.number
                yield raw
        self.last = self.size


def _check_names(fields: pa.Schema | pa.DataType, path: Path, where: str = "") -> None:
    """Raise `RecordError` for a name that a table, or a struct in it, has more than once: Python keeps the last."""
    for name, count in Counter(field.name for field in fields).items():
        if count > 1:
            raise RecordError("duplicate_key", f"{path} has {count} columns of the name {shown(where + name)}")
    for field in fields:
        kind = field.type
        while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):
            _check_names(kind, path, f"{where}{field.name}.")


def _rows_of(rows: pa.RecordBatch | pa.Table, number: int, where: Callable[[int], str]) -> Iterator[RawRecord]:
    """Yield rows, numbered from `number`; one with a value that Python cannot hold becomes an error."""
    try:
        values = rows.to_pylist()
    except _NO_VALUE as error:
        if rows.num_rows > 1:  # one by one, so that only the bad rows are lost
            for place in range(rows.num_rows):
                yield from _rows_of(rows.slice(place, 1), number + place, where)
        else:
            text = f"field {_unreadable(rows)} holds a value that cannot be read ({error})"
            yield RawRecord(number, None, RecordError("value", text, where=where(number)))
    else:
        yield from map(RawRecord, range(number, number + len(values)), values)


def _unreadable(row: pa.RecordBatch | pa.Table) -> str:
    """Return the name of the first column that cannot be read."""
    for name, column in zip(row.column_names, row.columns, strict=True):
        try:
            column.to_pylist()
        except _NO_VALUE:
            return str(name)
    return "of some column"
