"""The planner's plan: its types, its one strict parser, and what SFT teaches."""

import re
from dataclasses import dataclass
from enum import StrEnum

from rollout.text.marks import IMAGE_MARK, is_unicode, special_tokens_in
from rollout.text.messages import Message, chat, message_parts
from rollout.text.prompt_file import split_system
from rollout.text.strict_json import AnswerError
from rollout.text.tagged_answer import format_answer, read_answer
from rollout.text.type_names import json_type

MAX_STEPS = 64
"""Most steps of a plan: each may cost several generations."""

FIELDS = ("request",)
"""What a planner's prompt is filled with."""
_FIELD = "{request}"
_TEXTS = ("step_name", "instruction", "prompt", "auxiliary_text")
STEP_KEYS = frozenset({"step_number", *_TEXTS})
"""What an entry of a plan has to hold."""
NULLABLE = ("instruction", "prompt", "auxiliary_text")
"""Texts that a step may lack."""
KEYS = ("execution_plan",)
_SWALLOWED = re.compile(r"\}\s*,\s*\{\s*\\?[\"']step_number")
ERROR_KINDS = (
    *("repeated_tags", "tags", "json", "not_object", "keys", "type", "num_steps", "numbers"),
    *("nulls", "empty_text", "swallowed_step", "mixed", "mode", "unicode", "special_token"),
)
"""All that `PlanError.kind` may be."""


class Mode(StrEnum):
    """What a request asks of the planner."""

    NARRATIVE = "narrative"
    """No input image: the first step is text-to-image, later ones edit."""
    GUIDANCE = "guidance"
    """Input images: a text-only answer, or edits that go on where the user's own steps end."""


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One entry of a plan: an image to make (with or without a text beside it), or a text alone."""

    number: int
    name: str
    instruction: str | None
    """What the step has to show; None: the step is a text alone."""
    prompt: str | None
    """What the generator is told; None exactly when `instruction` is."""
    auxiliary_text: str | None = None
    """Text beside the image; a step without an image has one."""

    @property
    def is_text_only(self) -> bool:
        return self.prompt is None


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps with consecutive numbers: all make images, or all are texts alone."""

    steps: tuple[PlanStep, ...]
    thought: str = ""

    @property
    def is_text_only(self) -> bool:
        """The plan answers in words (guidance only)."""
        return self.steps[0].is_text_only


class PlanError(AnswerError):
    """The answer is not a plan."""


def render_request(template: str, request: str, num_images: int = 0) -> tuple[Message, ...]:
    """Return the chat messages that ask for a plan.

    `template` is the text of a prompt file with the field `{request}`. The request marks with `<image>` where its
    images belong; without a mark they come before it.
    """
    system, user = split_system(template)
    if user.count(_FIELD) != 1 or IMAGE_MARK in user:
        raise ValueError(f"a planner prompt needs {_FIELD} once and no {IMAGE_MARK}: the request's images go with it")
    if IMAGE_MARK not in request:
        request = IMAGE_MARK * num_images + request
    if request.count(IMAGE_MARK) != num_images:
        raise ValueError(f"the request has {request.count(IMAGE_MARK)} {IMAGE_MARK} marks for {num_images} images")
    return chat(system, message_parts(user.replace(_FIELD, request)))


def format_plan(plan: Plan) -> str:
    """Return the text that `parse_plan` reads back: what SFT teaches.

    >>> format_plan(Plan((PlanStep(1, "Sky", "A blue sky", "a blue sky", None),)))[:60]
    '<answer>{"execution_plan": [{"step_number": 1, "step_name": '
    """
    steps = [
        {
            "step_number": step.number,
            "step_name": step.name,
            "instruction": step.instruction,
            "prompt": step.prompt,
            "auxiliary_text": step.auxiliary_text,
        }
        for step in plan.steps
    ]
    return format_answer({"execution_plan": steps}, plan.thought or None)


def parse_plan(text: str, mode: Mode | None = None) -> Plan:
    """Read `<answer>{"execution_plan": [...]}</answer>`, or raise `PlanError`. A thought may stand before it.

    Steps are numbered from 1; in guidance mode from any number, because a continuation counts on from the
    user's own steps. A narrative always makes images.
    """
    return plan_of(*read_answer(text, KEYS, PlanError, needs_thought=False), mode)


def plan_of(thought: str, answer: dict[str, object], mode: Mode | None = None) -> Plan:
    """Return the plan that an object with the keys of `KEYS` is, or raise `PlanError`."""
    _check_unicode(thought, "the thought")
    entries = answer["execution_plan"]
    if not isinstance(entries, list):
        raise PlanError("type", f"execution_plan is {json_type(entries)}, expected a list")
    if not 1 <= len(entries) <= MAX_STEPS:
        raise PlanError("num_steps", f"{len(entries)} steps, expected 1 to {MAX_STEPS}")
    plan = Plan(tuple(_step(entry, place) for place, entry in enumerate(entries, 1)), thought)
    _check_order(plan, mode)
    return plan


def _step(entry: object, place: int) -> PlanStep:
    """Read the entry at `place`, counted from 1."""
    if not isinstance(entry, dict):
        raise PlanError("not_object", f"step {place} is {json_type(entry)}, expected an object")
    if set(entry) != STEP_KEYS:
        raise PlanError("keys", f"step {place}: found {sorted(entry)[:8]}, expected {sorted(STEP_KEYS)}")
    number = entry["step_number"]
    if not isinstance(number, int) or isinstance(number, bool):
        raise PlanError("type", f"step {place}: step_number is {json_type(number)}, expected a whole number")
    name, instruction, prompt, auxiliary = (_text(entry, key, place) for key in _TEXTS)
    if name is None:
        raise PlanError("type", f"step {place}: step_name is null, expected str")
    if (instruction is None) != (prompt is None):
        raise PlanError("nulls", f"step {place}: instruction and prompt are both null (a text alone) or neither")
    if prompt is None and auxiliary is None:
        raise PlanError("nulls", f"step {place}: without instruction and prompt it needs auxiliary_text")
    return PlanStep(number, name, instruction, prompt, auxiliary)


def _text(entry: dict[str, object], key: str, place: int) -> str | None:
    text = entry[key]
    if text is None:
        return None
    if not isinstance(text, str):
        raise PlanError("type", f"step {place}: {key} is {json_type(text)}, expected a string or null")
    if not text.strip():
        raise PlanError("empty_text", f"step {place}: {key} is empty; no text is null")
    if text.strip() == "None" and key in NULLABLE:
        raise PlanError("empty_text", f"step {place}: {key} is the word None; no text is null")
    if _SWALLOWED.search(text):
        raise PlanError("swallowed_step", f"step {place}: {key} holds the beginning of another step")
    _check_unicode(text, f"step {place}: {key}")
    if special := special_tokens_in(text):
        raise PlanError(
            "special_token", f"step {place}: {key} holds {special[0]}, which models read as a control token"
        )
    return text.strip()


def _check_order(plan: Plan, mode: Mode | None) -> None:
    first = plan.steps[0].number
    if first < 1 or (first > 1 and mode is not Mode.GUIDANCE):
        raise PlanError("numbers", f"the first step has number {first}, expected 1")
    for place, step in enumerate(plan.steps):
        if step.number != first + place:
            raise PlanError("numbers", f"step number {step.number} stands where {first + place} should")
        if step.is_text_only != plan.is_text_only:
            raise PlanError("mixed", "some steps make images and some are texts alone, expected one or the other")
    if plan.is_text_only and mode is Mode.NARRATIVE:
        raise PlanError("mode", "a narrative makes images, but no step has a prompt")


def _check_unicode(text: str, where: str) -> None:
    if not is_unicode(text):
        raise PlanError("unicode", f"{where} holds half a character (a lone surrogate)")
