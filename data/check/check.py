"""`interleave data check`: summarise a file of records in one pass and constant memory."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from actors.store.files import naming
from data.check.image_log import ImageLog
from data.check.images import DeepRules, DeepSummary, scan_images
from data.check.statistics import RlStatistics, SftStatistics
from data.check.token_lengths import TokenCounter, template_at
from data.errors import RecordError, shown
from data.formats.raw import RawRecord, Records
from data.formats.reader import open_records
from data.prompts import prompt_digest, prompt_in, prompt_of
from data.records.image_paths import ImageResolver, ImageRules
from data.records.on_bad import BadRecords, OnBad
from data.records.sft import Kind, SftRecord
from data.table.digest_log import DigestLog, Repeats, content_of, digest_of
from data.table.record_table import parser
from rollout.text.type_names import json_type
from rollout.types import Task

_NUM_TO_DETECT = 100
"""Records looked at to detect the kind."""
_PROMPT = Path(__file__).resolve().parent.parent.parent / "recipes" / "prompts" / "critic.txt"
_EVERY = 2000
"""Records between reports of progress."""

_READ_BY = {
    "user_input": "requests, which `interleave data build` reads (requests.file)",
    "request": "requests, which `interleave data build` reads (requests.file)",
}
"""What other files are known by, and what they are read by."""

Progress = Callable[[str, float, int], None]
"""Takes the current activity, its progress (0 to 1), and the number of records or images done."""


@dataclass(frozen=True)
class CheckRules:
    """What `check` does."""

    kind: Kind | None = None
    """None: detected from the records."""
    images: ImageRules = field(default_factory=ImageRules)
    limit: int = 0
    """Records to read; 0: all."""
    against: Path | None = None
    """Another file, whose prompts should not be in this one."""
    deep: DeepRules | None = None
    """Also decode the images and count tokens; None: no."""


@dataclass
class Overlap:
    """Prompts that are in both of two files."""

    other: Path
    num_records: int
    """Records of the checked file that have such a prompt."""
    examples: list[tuple[str, str]]
    """Locations in the checked file and in the other."""


@dataclass
class Summary:
    """What a check found."""

    path: Path
    kind: Kind
    num_records: int
    bad: BadRecords
    statistics: RlStatistics | SftStatistics
    copies: Repeats
    """Records with the same content."""
    prompts: Repeats
    examples_of_copies: list[tuple[str, str]]
    num_canvas_paths: int
    """Paths that the rules read as the white canvas."""
    num_called_white: int
    """Images called white.png that are read as images."""
    seconds: float
    overlap: Overlap | None = None
    deep: DeepSummary | None = None

    @property
    def is_good(self) -> bool:
        return not self.bad.num and (self.overlap is None or not self.overlap.num_records)


def check(path: Path, rules: CheckRules, progress: Progress = lambda *_: None) -> Summary:
    """Read a file's records and summarise them. Raises `RecordError` for a file without records."""
    started = time.monotonic()
    records = open_records(path)
    kind = rules.kind or detect_kind(records)
    with tempfile.TemporaryDirectory(prefix="interleave-check-") as folder, naming(Path(folder)):
        reading = _Reading(records, kind, rules, Path(folder))
        reading.read(progress)
        copies, prompts = reading.copies.repeats(), reading.prompts.repeats()
        ids = reading.ids.repeats()
        # The examples are counted as they are added, the other duplicates afterwards.
        for first, later in ids.examples:
            where = records.where(later)
            reading.bad.add(
                RecordError("duplicate_id", f"its id already appears at {records.where(first)}", where=where)
            )
        reading.bad.counts["duplicate_id"] += ids.num_later - len(ids.examples)
        reading.bad.counts = +reading.bad.counts  # without kinds that have count 0
        summary = Summary(
            path=path,
            kind=kind,
            num_records=reading.num_records,
            bad=reading.bad,
            statistics=reading.statistics,
            copies=copies,
            prompts=prompts,
            examples_of_copies=[(records.where(first), records.where(later)) for first, later in copies.examples],
            num_canvas_paths=reading.places.num_canvases,
            num_called_white=reading.num_called_white,
            seconds=time.monotonic() - started,
        )
        if rules.against is not None:
            summary.overlap = _overlap(reading.prompts, records, rules.against, Path(folder))
        if rules.deep is not None:
            assert reading.images is not None
            summary.deep = scan_images(reading.images, rules.deep.largest_image, reading.bad, records.where, progress)
            if reading.tokens is not None:
                summary.deep.tokens = reading.tokens.all(summary.deep.sizes)
    if summary.num_records == 0:
        raise no_record(path)
    return summary


def detect_kind(records: Records) -> Kind:
    """Return the kind of the first record that shows one. Raises `RecordError` if none of the first hundred does."""
    raw, first, problem = None, None, ""
    for raw in islice(records, _NUM_TO_DETECT):
        value = raw.value
        if raw.error is not None and not problem:
            problem = f" ({raw.error})"
        if raw.error is None and first is None:
            first = raw
        if not isinstance(value, dict):
            continue
        if "origin_prompt" in value:
            return Kind.RL
        if reader := next((reader for name, reader in _READ_BY.items() if name in value), ""):
            raise RecordError("file", f"{records.path} holds {reader}; it is not a file of RL or SFT records")
        if isinstance(value.get("messages"), list) and value["messages"]:
            answer = str(value["messages"][-1])
            if "execution_plan" in answer:
                return Kind.PLANNER_SFT
            if "previous_step_success" in answer:
                return Kind.CRITIC_SFT
    if raw is None:
        raise no_record(records.path)
    raise RecordError("file", f"{records.path}: {_why_no_kind(first, problem)}")


def _why_no_kind(first: RawRecord | None, problem: str) -> str:
    """Return why no kind was found, by the first record that could be read, and what is right."""
    if first is None:
        return f"none of its first records can be read{problem}"
    if not isinstance(first.value, dict):
        return f"its first record is {json_type(first.value)}, expected an object{problem}"
    fields = f"has the fields {', '.join(map(shown, list(first.value)[:8]))}" if first.value else "is empty"
    return (
        f"its first records show no kind{problem}: one {fields}; expected origin_prompt (RL) or messages that end with "
        f"an answer by the contract (SFT), or set --kind to one of {', '.join(Kind)}"
    )


def no_record(path: Path) -> RecordError:
    return RecordError("file", f"{path} holds no record")


class _Reading:
    """The pass over the records, and what it collects in memory and on disk."""

    def __init__(self, records: Records, kind: Kind, rules: CheckRules, folder: Path):
        self._records = records
        self._limit = rules.limit or None
        self.places = ImageResolver(records.folder, rules.images, keeps_bytes=rules.deep is not None)
        self._parse = parser(kind, records, self.places)
        self.bad = BadRecords(OnBad.SKIP)
        self.statistics = RlStatistics() if kind is Kind.RL else SftStatistics()
        self.copies, self.prompts, self.ids = (DigestLog(folder / name) for name in ("copies", "prompts", "ids"))
        self.images = ImageLog(folder) if rules.deep else None
        self.tokens = _token_counter(rules.deep)
        self.num_records = 0
        self.num_called_white = 0

    def read(self, progress: Progress) -> None:
        records = self._records
        for raw in islice(records, self._limit):
            self.num_records += 1
            if self.num_records % _EVERY == 0:
                progress("reading", min(1.0, records.position / max(records.size, 1)), self.num_records)
            try:
                if raw.error is not None:
                    raise raw.error
                self._take(raw, self._parse(raw))
            except RecordError as error:
                self.bad.add(error if error.where else error.at(records.where(raw.number)))
        progress("reading", 1.0, self.num_records)

    def _take(self, raw: RawRecord, record: Any) -> None:
        self.statistics.add(record)
        number = raw.number
        self.copies.add(content_of(record), number)
        if raw.value.get("id") is not None:
            self.ids.add(digest_of(record.id), number)
        self.prompts.add(prompt_digest(prompt_of(record)), number)
        paths = images_of(record)
        for path in paths:
            if path.endswith("/white.png"):
                self.num_called_white += 1
        if self.images is not None:
            self.images.add(paths, number)
        if self.tokens is not None:
            self.tokens.add(record)


def _token_counter(rules: DeepRules | None) -> TokenCounter | None:
    if rules is None or not rules.model:
        return None
    return TokenCounter(rules.model, template_at(rules.prompt or _PROMPT), rules.max_pixels)


def images_of(record: Task | SftRecord) -> list[str]:
    """Return the paths of a record's image files."""
    if isinstance(record, Task):
        return [record.after] if record.before is None else [record.before, record.after]
    return [image for image in record.images if isinstance(image, str)]


def _overlap(prompts: DigestLog, records: Records, other_path: Path, folder: Path) -> Overlap:
    """Compare with the prompts of another file, whose records need not be valid otherwise."""
    other = open_records(other_path)
    log = DigestLog(folder / "other_prompts")
    for raw in other:
        prompt = prompt_in(raw.value)
        if prompt is not None:
            log.add(prompt_digest(prompt), raw.number)
    num_shared, examples = prompts.shared_with(log)
    return Overlap(other_path, num_shared, [(records.where(own), other.where(their)) for own, their in examples])
