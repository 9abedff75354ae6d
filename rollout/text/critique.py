"""The critic's one prompt, its answer and one strict parser, for training, data building and inference alike."""

import re
from dataclasses import dataclass
from typing import Any, Protocol

from rollout.text.marks import IMAGE_MARK, is_unicode, special_tokens_in
from rollout.text.messages import Message, chat, message_parts
from rollout.text.prompt_file import split_system
from rollout.text.strict_json import AnswerError
from rollout.text.tagged_answer import format_answer, read_answer
from rollout.text.type_names import json_type

NUM_IMAGES = 2
FIELDS = ("instruction", "prompt")
"""What a critic's prompt is filled with, beside its images."""

_FIELD = re.compile(r"\{(instruction|prompt)\}")
KEYS = {"previous_step_success": bool, "refine_prompt": str}
"""What an answer has to hold, and of which type."""
_EXPECTED = {bool: "true or false", str: "a string"}
ERROR_KINDS = (
    *("repeated_tags", "tags", "json", "not_object", "keys", "type", "empty_prompt", "unicode"),
    "special_token",
)
"""All that `CritiqueError.kind` may be."""


@dataclass(frozen=True, slots=True)
class Critique:
    """A parsed answer of the critic."""

    is_success: bool
    refine_prompt: str
    thought: str = ""


class CritiqueError(AnswerError):
    """The answer is not a critique."""


class CriticInput(Protocol):
    """What the critic is shown of an attempt: a `Task` and an `Attempt` (`rollout.types`) both are one."""

    @property
    def instruction(self) -> str:
        """What the step has to show."""

    @property
    def prompt(self) -> str:
        """What the generator was told; empty: the instruction."""

    @property
    def before(self) -> str | None:
        """The image that was edited; None: a white canvas."""

    @property
    def after(self) -> str:
        """The image that the attempt made."""


def render_messages(template: str, shown: CriticInput) -> tuple[Message, ...]:
    """Return the chat messages that ask for a critique.

    `template` is the text of a prompt file with two `<image>` marks (before, after) and the fields
    `{instruction}` and `{prompt}`.
    """
    system, user = split_system(template)
    if (num_marks := user.count(IMAGE_MARK)) != NUM_IMAGES:
        raise ValueError(f"a critic prompt needs {NUM_IMAGES} {IMAGE_MARK} marks (before, after), found {num_marks}")
    fields = {"instruction": shown.instruction, "prompt": shown.prompt or shown.instruction}
    # Filled between the marks, never across: a mark in an instruction is no image.
    return chat(system, message_parts(user, lambda text: _FIELD.sub(lambda field: fields[field[1]], text)))


def format_critique(critique: Critique) -> str:
    """Return the text that `parse_critique` reads back: what SFT teaches.

    >>> format_critique(Critique(True, "a red box", "sees a red box"))
    '<think>sees a red box</think><answer>{"previous_step_success": true, "refine_prompt": "a red box"}</answer>'
    """
    answer = {"previous_step_success": critique.is_success, "refine_prompt": critique.refine_prompt}
    return format_answer(answer, critique.thought)


def parse_critique(text: str) -> Critique:
    """Read `<think>...</think><answer>{...}</answer>`; raise `CritiqueError` for anything else."""
    return critique_of(*read_answer(text, KEYS, CritiqueError, needs_thought=True))


def critique_of(thought: str, answer: dict[str, Any]) -> Critique:
    """Return the critique that an object with the keys of `KEYS` is; raise `CritiqueError` where it is none."""
    for key, kind in KEYS.items():
        if not isinstance(answer[key], kind):
            raise CritiqueError("type", f"{key} is {json_type(answer[key])}, expected {_EXPECTED[kind]}")
    if not answer["refine_prompt"].strip():
        raise CritiqueError("empty_prompt", "refine_prompt is empty")
    if not is_unicode(answer["refine_prompt"]) or not is_unicode(thought):
        raise CritiqueError("unicode", "half a character (a lone surrogate), which cannot be encoded")
    if special := special_tokens_in(answer["refine_prompt"]):
        raise CritiqueError("special_token", f"refine_prompt holds {special[0]}, which models read as a control token")
    return Critique(answer["previous_step_success"], answer["refine_prompt"].strip(), thought)
