"""Users' requests, read one by one: a text file with one request per line, or records `{"request", "images", "id"}`.

The public system's `{"user_input", "user_input_image", "id"}` is read as well.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from actors.store.store import Store
from data.check.images import inspect_image
from data.errors import RecordError, type_error
from data.formats.one_file import check_encoding
from data.formats.raw import RawRecord, Records, name_of, place_in
from data.formats.reader import open_records
from data.formats.strict_json import MAX_RECORD
from data.records.beside_file import resolver_of
from data.records.field_names import check_names
from data.records.image_paths import ImageResolver, ImageRules
from data.records.on_bad import BadRecords, good_records
from data.records.rl import check_object, id_of, text_of
from data.table.digest_log import digest_of
from rollout.text.marks import IMAGE_MARK, is_unicode
from rollout.types import Request


class _Names(NamedTuple):
    """What the fields of a request are called."""

    text: str
    images: str


_OURS, _PUBLIC = _Names("request", "images"), _Names("user_input", "user_input_image")


class TextLines:
    """One request per line; blank lines are skipped."""

    unit = ""

    def __init__(self, path: Path):
        self.path = path
        self.folder, self.name = path.parent, name_of(path)
        self.position = self.last = 0
        self.size = path.stat().st_size

    def where(self, number: int) -> str:
        return place_in(self.path, self.unit, number)

    def __iter__(self) -> Iterator[RawRecord]:
        self.position = 0
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_RECORD), ""), 1):
                self.position += len(line)
                self.last = number
                if not is_unicode(line):
                    error = RecordError("encoding", "not UTF-8; save the file as UTF-8", where=self.where(number))
                    yield RawRecord(number, None, error)
                elif line.strip():
                    yield RawRecord(number, {"request": line.strip()})


def open_requests(path: Path) -> Records:
    """Return the requests of a file: lines of text (`.txt`), else records of any format. Raises `RecordError`."""
    if path.suffix == ".txt" and path.is_file():
        with path.open("rb") as file:
            check_encoding(path, file.read(512))
        return TextLines(path)
    if path.name.endswith(".txt.gz"):
        raise RecordError("file", f"{path}: lines of text are read from a .txt; unpack it, or write it as .jsonl.gz")
    return open_records(path)


def read_requests(
    records: Records, store: Store, bad: BadRecords, rules: ImageRules | None = None
) -> Iterator[tuple[int, Request]]:
    """Yield (number, request), with the images in the store; bad and duplicate requests go to `bad`."""
    places_of = resolver_of(records, ImageResolver(records.folder, rules))
    seen: set[int] = set()

    def read(raw: RawRecord) -> Request:
        request = _request(raw.value, places_of(raw.number), store)
        digest = digest_of(request.id)
        if digest in seen:
            raise RecordError("duplicate", f"request {request.id!r} appears again")
        seen.add(digest)
        return request

    for raw, request in good_records(records, read, bad):
        yield raw.number, request


def has_images(record: dict[str, object]) -> bool:
    """Return whether an unchecked request names images."""
    return bool(record.get(_names(record).images))


def _names(record: dict[str, object]) -> _Names:
    return _PUBLIC if "user_input" in record and "request" not in record else _OURS


def _request(record: Any, places: ImageResolver, store: Store) -> Request:
    """Return the request that a record describes. Its default id is a digest of its content, wherever it is."""
    check_object(record)
    names = _names(record)
    check_names(record, (names.text,), (names.images,))
    text = text_of(record, names.text).strip()
    if not text:
        raise RecordError("empty", f"field {names.text} is empty")
    entries = record.get(names.images) or []
    if isinstance(entries, str) and names is _PUBLIC:
        entries = [entries]
    if not isinstance(entries, list):
        raise type_error(names.images, entries, "a list")
    num_marks = text.count(IMAGE_MARK)
    if num_marks not in (0, len(entries)):
        raise RecordError("marks", f"{num_marks} {IMAGE_MARK} marks for {len(entries)} images")
    images = tuple(_image(entry, f"{names.images}[{place}]", places, store) for place, entry in enumerate(entries))
    return Request(text, images, id=id_of(record, f"{digest_of(text, *images):016x}"))


def _image(entry: object, field: str, places: ImageResolver, store: Store) -> str:
    path = places.find(entry, field)
    if path is None:
        raise RecordError("canvas", f"field {field} is the white canvas; a request without an image has none")
    fault = inspect_image(path).fault
    if fault is not None:
        raise fault
    return store.put_image(store.get_image(path))
