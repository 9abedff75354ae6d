"""One file of records: its format is detected from its content."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import RecordError
from data.formats.json_array import JsonArray
from data.formats.json_lines import JsonLines
from data.formats.json_wrapper import find_list
from data.formats.not_lines import told_by
from data.formats.packed import UNREADABLE, read_head
from data.formats.raw import Records
from data.formats.strict_json import BOM
from rollout.text.marks import wide_encoding

_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"ARROW1": "an Arrow file",
    b"\xff\xff\xff\xff": "an Arrow stream (name the folder that `datasets` saved)",
    b"\x1f\x8b": "compressed with gzip twice",
    b"\x80\x04\x95": "a Python pickle",
    b"\x80\x05\x95": "a Python pickle",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3\0": "an SQLite database",
    b"version https://git-lfs": "a Git LFS pointer, whose content was not fetched (git lfs pull)",
}
"""Other files that are mistaken for records, by their first bytes."""

_TRAJECTORY = "execution_record.json"


def open_file(path: Path) -> Records:
    """Return the records of a file. Raises `RecordError`."""
    with readable(path):
        head = read_head(path)
    check_encoding(path, head)
    if head.startswith(b"PAR1"):
        from data.formats.arrow import ParquetRows  # late: pyarrow takes long to import

        return ParquetRows(path)
    wrapped = find_list(head)
    if wrapped is not None or head.removeprefix(BOM).lstrip().startswith(b"["):
        return JsonArray(path, wrapped=wrapped)
    if path.name == _TRAJECTORY:
        raise RecordError("file", f"{path} holds a trajectory, which `interleave data import` reads by its folder")
    if what := told_by(head):
        raise RecordError("file", f"{path} is {what}")
    return JsonLines(path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise a `RecordError` that says why a path cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise RecordError("file", f"{path} does not exist") from None
    except RecordError:
        raise
    except (ValueError, *UNREADABLE) as error:
        raise RecordError("file", f"{path} cannot be read ({error})") from None


def check_encoding(path: Path, head: bytes) -> None:
    """Raise `RecordError` if the first bytes show another encoding, or a format that is not supported."""
    if encoding := wide_encoding(head):
        raise RecordError("encoding", f"{path} is text in {encoding}; save it as UTF-8")
    kind = (
        "a tar archive"
        if head[257:262] == b"ustar"
        else next((name for mark, name in _FOREIGN.items() if head.startswith(mark)), "")
    )
    if kind:
        raise RecordError("file", f"{path} is {kind}; expected JSONL, JSON (either also as .gz) or Parquet")
