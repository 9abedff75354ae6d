"""Relative image paths start beside the file that a record stands in, also where a pattern finds several folders."""

from collections.abc import Callable
from pathlib import Path

from data.formats.raw import Records
from data.formats.shards import Shards
from data.records.image_paths import ImageResolver


def folder_of(records: Records) -> Callable[[int], Path]:
    """Return what tells a record's number, once it has been reached, to the folder of its own file."""
    return records.folder_of if isinstance(records, Shards) else lambda number: records.folder


def resolver_of(records: Records, places: ImageResolver) -> Callable[[int], ImageResolver]:
    """Return what finds the images of a record, by its number: `places`, beside the record's own file."""
    if not isinstance(records, Shards):
        return lambda number: places
    beside = {folder: places.beside(folder) for folder in set(records.folders)}
    return lambda number: beside[records.folder_of(number)]
