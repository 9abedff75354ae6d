"""`interleave data show`: some of a file's records as one self-contained HTML page."""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from actors.store.files import write_whole
from actors.store.image_files import data_url, small_copy
from actors.store.packed_images import open_image_file
from actors.store.pixels import UnclearImage, as_seen
from actors.store.store import FORMATS
from data.check.check import detect_kind, no_record
from data.check.images import MAX_PIXELS
from data.errors import RecordError
from data.formats.raw import RawRecord, Records
from data.formats.reader import beside, open_records
from data.records.image_paths import ImageResolver, ImageRules
from data.records.sft import Canvas, Kind, SftRecord
from data.table.record_table import parser
from rollout.text.plan import Plan, PlanStep
from rollout.types import Task

_SIDE = 440
"""Longest side of a thumbnail in pixels: twice what a card shows."""
_SMALL = 128
"""Images with sides up to this keep their pixels."""
_MOST_SOURCE = 4000
"""Characters shown of an unreadable record."""
_TEMPLATES = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)


@dataclass(frozen=True)
class RecordImage:
    """An image on a card."""

    name: str
    source: str = ""
    """A data URL; empty: nothing to show."""
    note: str = ""
    is_small: bool = False
    is_lost: bool = False


@dataclass(frozen=True)
class Words:
    """A text on a card, or a badge."""

    text: str
    what: str = ""
    tone: str = ""


@dataclass
class Card:
    """One record on the page."""

    id: str
    where: str
    badges: list[Words] = field(default_factory=list)
    images: list[RecordImage] = field(default_factory=list)
    texts: list[Words] = field(default_factory=list)
    steps: tuple[PlanStep, ...] = ()
    source: str = ""


def write_page(
    path: Path,
    *,
    out: Path | None = None,
    limit: int = 50,
    seed: int = 0,
    kind: Kind | None = None,
    rules: ImageRules | None = None,
) -> Path:
    """Write a page of `limit` records (0: all), drawn by the seed, in file order; bad ones are shown with their error.

    Raises `RecordError` for a file that holds no record of a known kind.
    """
    if limit < 0:
        raise ValueError(f"--limit is {limit}; expected 0 (all) or more")
    records = open_records(path)
    kind = kind or detect_kind(records)
    chosen, num_records = sample_records(records, limit, seed)
    if not num_records:
        raise no_record(path)
    parse = parser(kind, records, ImageResolver(records.folder, rules))
    cards = [_card(raw, parse, records) for raw in chosen]
    about = f"{len(cards):,} of {num_records:,} {kind} records"
    if len(cards) < num_records:
        about += f", drawn with seed {seed}"
    page = _TEMPLATES.get_template("page.html.j2").render(name=path.name, about=about, cards=cards)
    out = out or beside(records) / f"{records.name}.html"
    write_whole(out, page.encode("utf-8", "replace"))
    return out


def sample_records(records: Records, limit: int, seed: int) -> tuple[list[RawRecord], int]:
    """Return `limit` records drawn uniformly from a stream, in their order, and the number of all.

    Algorithm R: Vitter, "Random Sampling with a Reservoir", 1985.
    """
    rng = random.Random(seed)
    kept: list[RawRecord] = []
    num_records = 0
    for raw in records:
        num_records += 1
        if not limit or len(kept) < limit:
            kept.append(raw)
        elif (place := rng.randrange(num_records)) < limit:
            kept[place] = raw
    return sorted(kept, key=lambda raw: raw.number), num_records


def _card(raw: RawRecord, parse: Any, records: Records) -> Card:
    where = records.where(raw.number)
    try:
        if raw.error is not None:
            raise raw.error
        record = parse(raw)
    except RecordError as error:
        source = "" if raw.value is None else json.dumps(raw.value, indent=1, ensure_ascii=False, default=str)
        return Card("", where, [Words(error.text, tone="bad")], source=source[:_MOST_SOURCE])
    return _task_card(record, where) if isinstance(record, Task) else _sft_card(record, where)


def _task_card(task: Task, where: str) -> Card:
    scores = task.scores
    badges = [_verdict(task.is_success), Words(f"semantics {scores.semantics:g}"), Words(f"quality {scores.quality:g}")]
    texts = [Words(task.instruction, "origin_prompt")]
    if task.prompt:
        texts.append(Words(task.prompt, "rewritten_prompt"))
    before = Canvas() if task.before is None else task.before
    return Card(task.id, where, badges, [_picture(before), _picture(task.after)], texts)


def _sft_card(record: SftRecord, where: str) -> Card:
    answer = record.answer
    texts = [Words(message.content, message.role) for message in record.messages[:-1]]
    card = Card(record.id, where, images=[_picture(image) for image in record.images], texts=texts)
    if answer.thought:
        texts.append(Words(answer.thought, "thought"))
    if isinstance(answer, Plan):
        card.badges.append(Words(f"{len(answer.steps)} steps{' of words' if answer.is_text_only else ''}"))
        card.steps = answer.steps
    else:
        card.badges.append(_verdict(answer.is_success))
        texts.append(Words(answer.refine_prompt, "refine_prompt"))
    return card


def _verdict(is_success: bool) -> Words:
    return Words("success", tone="success") if is_success else Words("failed", tone="failed")


def _picture(image: str | Canvas) -> RecordImage:
    if isinstance(image, Canvas):
        size = "" if image.size is None else f", {image.size[0]} x {image.size[1]}"
        return RecordImage("declared", note=f"white canvas{size}")
    try:
        with open_image_file(image) as file, Image.open(file, formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return RecordImage(image, note=f"{opened.width:,} x {opened.height:,} pixels: too large", is_lost=True)
            is_small = max(opened.size) <= _SMALL
            small = as_seen(opened)
    except UnclearImage as error:
        return RecordImage(image, note=f"cannot be shown: {error}", is_lost=True)
    except Exception as error:  # on broken data decoders raise anything
        return RecordImage(image, note=f"cannot be decoded: {type(error).__name__}", is_lost=True)
    return RecordImage(image, data_url(small_copy(small, _SIDE, lossless_side=_SMALL)), is_small=is_small)
