"""Records in several files (a folder, or a glob), read as one: each record keeps its location in its own file."""

import glob
import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data.errors import RecordError
from data.formats.one_file import open_file
from data.formats.raw import RawRecord, Records, name_of, place_in

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".ndjson", ".json", ".json.gz")
_OTHERS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Metadata files next to the records."""
_SPLIT = re.compile(r"(train|validation|valid|val|dev|test|heldout|eval)(?![a-z])", re.IGNORECASE)


class Part(NamedTuple):
    """A file, and where its records start in the whole."""

    file: str
    unit: str
    start: int
    """Added to its own record numbers."""


class Shards:
    """Satisfies `data.formats.raw.Records`; record numbers continue from file to file."""

    unit = "record"

    def __init__(self, path: Path, files: Sequence[Path]):
        self.path = path
        self.files = tuple(files)
        self.folders = tuple(file.absolute().parent for file in files)
        """Of each file its own."""
        self.folder = Path(os.path.commonpath(self.folders))
        self.name = name_of(path)
        self.position = 0
        self.last = 0
        self.size = sum(file.stat().st_size for file in files)
        self.parts: list[Part] = []
        """Files reached so far."""

    def where(self, number: int) -> str:
        """Return a record's location in its own file, which must have been reached."""
        part = self.parts[self._part(number)]
        return place_in(Path(part.file), part.unit, number - part.start)

    def folder_of(self, number: int) -> Path:
        """Return the folder of a record's own file, which must have been reached."""
        return self.folders[self._part(number)]

    def _part(self, number: int) -> int:
        return max(0, bisect_right(self.parts, number - 1, key=lambda part: part.start) - 1)

    def __iter__(self) -> Iterator[RawRecord]:
        before = 0
        for part, records in self.opened():
            for raw in records:
                share = min(1.0, records.position / max(records.size, 1))
                self.position = before + int(share * records.path.stat().st_size)
                # No byte offset: it would be mistaken for one into the whole.
                yield raw._replace(number=part.start + raw.number, start=0, length=0)
            before += records.path.stat().st_size

    def opened(self) -> Iterator[tuple[Part, Records]]:
        """Yield each file in turn; numbers of the next start where this one was read to."""
        self.parts, self.last = [], 0
        for file in self.files:
            records = open_file(file)
            part = Part(str(file), records.unit, self.last)
            self.parts.append(part)
            yield part, records
            self.last = part.start + records.last


def shards_of_folder(path: Path) -> Records:
    """Return the records of the files in a folder. Raises `RecordError` if it is unclear which belong together."""
    found = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith((".", "_")))
    files = [file for file in found if file.name.endswith(SUFFIXES) and file.name not in _OTHERS]
    if not files:
        inside = sorted({file.parent.name for suffix in SUFFIXES for file in path.glob(f"*/*{suffix}")})
        hint = f"; name one of its folders: {', '.join(inside[:5])}" if inside else ""
        known = ", ".join(SUFFIXES)
        raise RecordError(
            "file",
            f"{path} is a folder, but neither one that Hugging Face `datasets` saved nor one of record files "
            f"({known}){hint}",
        )
    suffixes = sorted({_suffix(file) for file in files})
    if len(suffixes) > 1:
        raise RecordError("file", f"{path} holds {' and '.join(suffixes)} files; name some, like {path}/*{suffixes[0]}")
    splits = sorted({match[1].lower() for file in files if (match := _SPLIT.match(file.name))})
    if len(splits) > 1:
        raise RecordError("file", f"{path} holds the splits {', '.join(splits)}; name one, like {path}/{splits[0]}*")
    return _shards(path, files)


def shards_of_pattern(path: Path) -> Records:
    """Return the records of the files that match a pattern. Raises `RecordError` if there are none."""
    files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
    if not files:
        raise RecordError("file", f"no file matches {path}")
    return _shards(path, files)


def _shards(path: Path, files: list[Path]) -> Records:
    return open_file(files[0]) if len(files) == 1 else Shards(path, files)


def _suffix(file: Path) -> str:
    return next(suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if file.name.endswith(suffix))
