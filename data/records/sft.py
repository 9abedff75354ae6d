"""SFT records of critic and planner: a ShareGPT conversation, its images, and the answer that it teaches.

`{"messages": [{"role", "content"}...], "images": [...]}` and, optionally, `id`, `version` and `source_prompt`.
Each `<image>` in a system or user message stands for the next of `images`: a path, or a declared white canvas
`{"canvas": "white", "size": [width, height]}`. The last message is the answer and must follow the contract.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from data.errors import RecordError, shown, type_error
from data.records.field_names import check_names
from data.records.image_bytes import path_in
from data.records.image_paths import ImageResolver
from data.records.public_answers import Read, read_critique, read_plan
from data.records.rl import check_object, check_text, id_of, required, text_of
from rollout.text.critique import NUM_IMAGES, CritiqueError
from rollout.text.marks import IMAGE_MARK
from rollout.text.plan import Mode, Plan, PlanError
from rollout.types import Critique

_NEEDED, _OPTIONAL = ("messages",), ("images", "source_prompt")
_MAX_SIDE = 16_384
"""Pixels of the longest side of a declared canvas."""


class Kind(StrEnum):
    """The three kinds of records."""

    RL = "rl"
    CRITIC_SFT = "critic_sft"
    PLANNER_SFT = "planner_sft"


@dataclass(frozen=True, slots=True)
class Canvas:
    """A white image that is declared, not stored."""

    size: tuple[int, int] | None = None
    """(width, height) in pixels; None: as large as the record's first real image."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    """system, user or assistant."""
    content: str


@dataclass(frozen=True, slots=True)
class SftRecord:
    """One conversation to learn from."""

    id: str
    messages: tuple[Message, ...]
    """The last one is the assistant's, in the contract's form."""
    images: tuple[str | Canvas, ...]
    answer: Critique | Plan
    """What the last message says."""
    source_prompt: str
    """Decides whether it is held out: the user's request if the record names it, else the user's messages."""
    leniencies: tuple[str, ...] = ()
    """How the file's answer differed from the contract's form (`data.records.public_answers`)."""
    where: str = field(default="", compare=False)
    """Human-readable location, set by a table that reads the record."""

    @property
    def is_rewritten(self) -> bool:
        """Whether the last message is another text than the file's."""
        return bool(self.leniencies)


def read_sft(record: Any, kind: Kind, places: ImageResolver, *, default_id: str) -> SftRecord:
    """Return the checked SFT record. Raises `RecordError`, without a location."""
    check_object(record)
    check_names(record, _NEEDED, _OPTIONAL)
    messages = _messages(required(record, "messages", list, "a list"))
    entries = record.get("images")
    if entries is None:
        entries = []
    elif not isinstance(entries, list):
        raise type_error("images", entries, "a list")
    num_marks = sum(message.content.count(IMAGE_MARK) for message in messages)
    if num_marks != len(entries):
        raise RecordError("marks", f"{num_marks} {IMAGE_MARK} marks for {len(entries)} images")
    if kind is Kind.CRITIC_SFT and len(entries) != NUM_IMAGES:
        raise RecordError("images", f"{len(entries)} images; a critic sees {NUM_IMAGES}, before and after")
    read = _answer(messages, kind, has_images=bool(entries))
    asked = "\n".join(message.content for message in messages if message.role == "user")
    return SftRecord(
        id=id_of(record, default_id),
        messages=(*messages[:-1], Message("assistant", read.text)),
        images=tuple(_image(entry, place, places) for place, entry in enumerate(entries)),
        answer=read.answer,
        source_prompt=asked if record.get("source_prompt") is None else text_of(record, "source_prompt"),
        leniencies=read.leniencies,
    )


def _messages(entries: list[object]) -> tuple[Message, ...]:
    messages = []
    for place, entry in enumerate(entries):
        field = f"messages[{place}]"
        if not isinstance(entry, dict):
            raise type_error(field, entry, "an object")
        role = required(entry, "role", str, "a string", inside=f"{field}: ")
        content = required(entry, "content", str, "a string", inside=f"{field}: ")
        check_text(content, f"{field}.content")
        messages.append(Message(role, content))
    turns = [message.role for message in messages]
    if turns[:1] == ["system"]:
        del turns[0]
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        raise RecordError(
            "roles", f"the roles are {shown(turns)}, expected user and assistant in turns, up to the answer"
        )
    if any(IMAGE_MARK in message.content for message in messages if message.role == "assistant"):
        raise RecordError("marks", f"an assistant's message holds {IMAGE_MARK}, but it answers in text")
    return tuple(messages)


def _answer(messages: Sequence[Message], kind: Kind, *, has_images: bool) -> Read[Critique] | Read[Plan]:
    try:
        if kind is Kind.CRITIC_SFT:
            return read_critique(messages[-1].content, messages[-2].content)
        return read_plan(messages[-1].content, Mode.GUIDANCE if has_images else Mode.NARRATIVE)
    except (CritiqueError, PlanError) as error:
        raise RecordError(
            f"answer.{error.kind}", f"the last message is not an answer by the contract ({error})"
        ) from None


def _image(entry: object, place: int, places: ImageResolver) -> str | Canvas:
    field = f"images[{place}]"
    entry = path_in(entry)
    is_column = isinstance(entry, dict) and not entry.keys().isdisjoint({"bytes", "path", "sha256"})
    if is_column or not isinstance(entry, dict):  # a path, or an image column of Hugging Face `datasets`
        path = places.find(entry, field)
        return Canvas() if path is None else path
    if entry.get("canvas") != "white" or not entry.keys() <= {"canvas", "size"}:
        raise RecordError(
            "canvas", f'field {field} is {shown(entry)}, expected a path or {{"canvas": "white", "size"}}'
        )
    size = entry.get("size")
    if size is None:
        return Canvas()
    is_pair = isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size)
    if not is_pair or not all(1 <= side <= _MAX_SIDE for side in size):
        raise RecordError("canvas", f"{field}: field size is {shown(size)}, expected [width, height] up to {_MAX_SIDE}")
    return Canvas((size[0], size[1]))
