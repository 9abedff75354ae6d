"""Open records to be streamed: one file of any format, a Hugging Face `datasets` folder, or shards."""

from glob import has_magic
from pathlib import Path

from data.formats.one_file import open_file, readable
from data.formats.raw import Records
from data.formats.shards import shards_of_folder, shards_of_pattern


def open_records(path: Path) -> Records:
    """Return the records of a file, a folder or a pattern of files. Raises `RecordError`."""
    with readable(path):
        if path.is_dir():
            return _open_folder(path)
        if has_magic(str(path)) and not path.exists():
            return shards_of_pattern(path)
    return open_file(path)


def _open_folder(path: Path) -> Records:
    if any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
        from data.formats.arrow import DatasetRows  # late: pyarrow takes long to import

        return DatasetRows(path)
    return shards_of_folder(path)


def beside(records: Records) -> Path:
    """Return the default folder for files derived from records."""
    return records.path.parent if records.path.exists() else records.folder
