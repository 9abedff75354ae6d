"""`interleave data split`: hold out records by source prompt, so that no prompt is on both sides."""

import json
import os
import re
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from actors.store.files import naming
from data.errors import RecordError, shown
from data.formats.reader import beside, open_records
from data.prompts import prompt_digest, prompt_in
from data.records.beside_file import folder_of
from data.records.image_bytes import bytes_in, keep_image, with_images
from data.records.on_bad import BadRecords
from data.table.digest_log import digest_of

SIDES = ("train", "heldout")


@dataclass(frozen=True)
class SplitRules:
    """How a file is split."""

    share: float
    """Share of the prompts that is held out, between 0 and 1."""
    seed: int = 0
    by: str = ""
    """The field that holds the prompt; empty: origin_prompt, source_prompt, or else the user's messages."""
    pattern: str = ""
    """A regular expression whose first group is the prompt within that text; empty: the whole text."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"--heldout is {self.share}; expected a share between 0 and 1, like 0.1")
        try:
            groups = re.compile(self.pattern).groups if self.pattern else 1
        except re.error as error:
            raise ValueError(f"--pattern is not a regular expression ({error})") from None
        if groups < 1:
            raise ValueError("--pattern needs a group (in parentheses) that holds the prompt")


@dataclass(frozen=True)
class Split:
    """The files written by a split."""

    paths: dict[str, Path]
    num_records: dict[str, int]
    bad: BadRecords
    """Records that have no prompt, or cannot be read or written."""


def split(path: Path, rules: SplitRules, *, out: Path | None = None, bad: BadRecords | None = None) -> Split:
    """Write `<name>_train.jsonl` and `<name>_heldout.jsonl` into `out` (default: next to the file).

    A prompt's side depends only on its digest and the rules, so files split by the same rules agree. Records are
    unchanged, except that relative image paths are made relative to `out`, and images held as bytes become files there.
    Raises ValueError if a side is empty.
    """
    bad = bad or BadRecords()
    records = open_records(path)
    out = out or beside(records)
    out.mkdir(parents=True, exist_ok=True)
    paths = {side: out / f"{records.name}_{side}.jsonl" for side in SIDES}
    for taken in paths.values():
        if taken.exists():
            raise ValueError(f"{taken} exists; name another folder with --out, or remove it")
    moved, old = cache(lambda folder: _Moved(folder, out)), folder_of(records)
    num_records = dict.fromkeys(SIDES, 0)
    with naming(out), tempfile.TemporaryDirectory(dir=out, prefix=".split-") as folder:
        files = {side: (Path(folder) / side).open("w", encoding="utf-8") for side in SIDES}
        try:
            for raw in records:
                try:
                    if raw.error is not None:
                        raise raw.error
                    side = side_of(prompt_by(raw.value, rules), rules)
                    line = _line_of(moved(old(raw.number))(raw.value))
                except RecordError as error:
                    bad.add(error if error.where else error.at(records.where(raw.number)))
                    continue
                files[side].write(line)
                num_records[side] += 1
        finally:
            for file in files.values():
                file.close()
        if not any(num_records.values()):
            raise RecordError("file", f"{path} holds no record to split" + (f": {bad.summary()}" if bad.num else ""))
        for side, count in num_records.items():
            if count == 0:
                raise ValueError(f"{path}: no record is on the {side} side; choose another --heldout or --seed")
        for side in SIDES:
            (Path(folder) / side).replace(paths[side])
    return Split(paths, num_records, bad)


def prompt_by(value: object, rules: SplitRules) -> str:
    """Return the prompt that decides a record's side. Raises `RecordError` if there is none."""
    text = value.get(rules.by) if rules.by and isinstance(value, dict) else None if rules.by else prompt_in(value)
    if not isinstance(text, str) or not text.strip():
        field = rules.by or "origin_prompt, source_prompt or messages"
        raise RecordError("missing", f"field {field} holds no prompt to split by")
    if not rules.pattern:
        return text
    match = re.search(rules.pattern, text, re.DOTALL)
    if match is None or not match[1]:
        raise RecordError("missing", f"--pattern finds no prompt in {shown(text)}")
    return match[1]


def side_of(prompt: str, rules: SplitRules) -> str:
    """Return the side that a prompt is on.

    >>> side_of("a red box", SplitRules(0.5)) == side_of("A  red box", SplitRules(0.5))
    True
    """
    place = digest_of("split", str(rules.seed), str(prompt_digest(prompt))) / 2**64
    return "heldout" if place < rules.share else "train"


def _line_of(record: dict[str, object]) -> str:
    """Return a record as a line of JSON. Raises `RecordError` for a value that JSON lacks (bytes, dates)."""
    try:
        return json.dumps(record) + "\n"
    except TypeError:
        name, value = next((name, value) for name, value in record.items() if not _is_json(value))
    text = f"field {name} ({type(value).__name__}) holds a value that JSON lacks, like bytes or a date; leave it out"
    raise RecordError("type", text)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


class _Moved:
    """Makes a record's image paths relative to another folder, and writes images held as bytes there."""

    def __init__(self, old: Path, new: Path):
        self._new = new
        is_same = old.resolve() == new.resolve()
        self._way = "" if is_same else os.path.relpath(old.resolve(), new.resolve())

    def __call__(self, record: dict[str, object]) -> dict[str, object]:
        moved: dict[str, object] = with_images(record, self._path)
        return moved

    def _path(self, image: object) -> object:
        if (data := bytes_in(image, "images")) is not None:
            return os.path.relpath(keep_image(data, self._new / "images"), self._new)
        if not self._way:
            return image
        if isinstance(image, dict) and isinstance(image.get("path"), str):  # an image column of `datasets`
            return {**image, "path": self._path(image["path"])}
        if not isinstance(image, str) or os.path.isabs(image):
            return image
        return os.path.join(self._way, image)
