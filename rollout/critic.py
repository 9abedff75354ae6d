"""The critic's one prompt and one parser, for training, data building and inference alike."""

from __future__ import annotations

import json
import re
from typing import Protocol

from rollout.text.marks import IMAGE_MARK, TAGS, has_tag, is_unicode, special_tokens_in, without_tags
from rollout.text.strict_json import unique_keys
from rollout.types import Critique

NUM_IMAGES = 2

_ANSWER = re.compile(r"\A\s*<think>(.*?)</think>\s*<answer>(.*?)</answer>\s*\Z", re.DOTALL)
_FIELD = re.compile(r"\{(instruction|prompt)\}")
_KEYS = {"previous_step_success": bool, "refine_prompt": str}
ERROR_KINDS = (
    "repeated_tags",
    "tags",
    "json",
    "not_object",
    "keys",
    "type",
    "empty_prompt",
    "unicode",
    "special_token",
)
"""All that `CritiqueError.kind` may be."""


class CritiqueError(ValueError):
    """The answer is not a critique; `kind` is a short stable name to count by."""

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


class CriticInput(Protocol):
    """What the critic is told about an attempt, beside its images: a `Task`, or a try of a story."""

    @property
    def instruction(self) -> str:
        """What the step has to show."""
        ...

    @property
    def prompt(self) -> str:
        """What the generator was told; empty: the instruction."""
        ...


def render_messages(template: str, task: CriticInput) -> tuple[dict, ...]:
    """Return the chat messages that ask for a critique of `task`.

    `template` is the text of a prompt file with two `<image>` marks (before, after) and the fields
    `{instruction}` and `{prompt}`; text before a line `---` is the system message.
    """
    system, separator, user = template.partition("\n---\n")
    if not separator:
        system, user = "", template
    fields = {"instruction": task.instruction, "prompt": task.prompt or task.instruction}
    parts: list[dict] = []
    pieces = user.strip().split(IMAGE_MARK)
    if len(pieces) != NUM_IMAGES + 1:
        raise ValueError(
            f"a critic prompt needs {NUM_IMAGES} {IMAGE_MARK} marks (before, after), found {len(pieces) - 1}"
        )
    for position, piece in enumerate(pieces):
        text = _FIELD.sub(lambda field: fields[field[1]], piece)
        if position > 0:
            parts.append({"type": "image"})
        if text:
            parts.append({"type": "text", "text": text})
    user_message = {"role": "user", "content": parts}
    if not system.strip():
        return (user_message,)
    return ({"role": "system", "content": [{"type": "text", "text": system.strip()}]}, user_message)


def format_critique(critique: Critique) -> str:
    """Return the text that `parse_critique` reads back: what SFT teaches.

    >>> format_critique(Critique(True, "a red box", "sees a red box"))
    '<think>sees a red box</think><answer>{"previous_step_success": true, "refine_prompt": "a red box"}</answer>'
    """
    if has_tag(critique.thought):
        raise ValueError(f"a critique's thought may not hold any of {', '.join(TAGS)}")
    answer = {"previous_step_success": critique.is_success, "refine_prompt": critique.refine_prompt}
    body = without_tags(json.dumps(answer, ensure_ascii=False))
    return f"<think>{critique.thought}</think><answer>{body}</answer>"


def parse_critique(text: str) -> Critique:
    """Read `<think>...</think><answer>{...}</answer>`; raise `CritiqueError` for anything else.

    Strict on purpose: a lenient parser would teach the policy that sloppy answers pay.
    """
    if any(text.count(tag) > 1 for tag in TAGS):
        raise CritiqueError("repeated_tags", f"each of {', '.join(TAGS)} may stand once")
    match = _ANSWER.match(text)
    if match is None:
        raise CritiqueError("tags", "expected <think>...</think><answer>...</answer> and nothing else")
    thought, body = match.groups()
    try:
        answer = json.loads(body, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise CritiqueError("json", str(error)[:200]) from None
    if not isinstance(answer, dict):
        raise CritiqueError("not_object", f"the answer is a {type(answer).__name__}, expected an object")
    if set(answer) != set(_KEYS):
        raise CritiqueError("keys", f"found {sorted(answer)[:5]}, expected {sorted(_KEYS)}")
    for key, kind in _KEYS.items():
        if not isinstance(answer[key], kind):
            raise CritiqueError("type", f"{key} is a {type(answer[key]).__name__}, expected {kind.__name__}")
    if not answer["refine_prompt"].strip():
        raise CritiqueError("empty_prompt", "refine_prompt is empty")
    if not is_unicode(answer["refine_prompt"]) or not is_unicode(thought):
        raise CritiqueError("unicode", "half a character (a lone surrogate), which nobody can encode")
    if special := special_tokens_in(answer["refine_prompt"]):
        raise CritiqueError("special_token", f"refine_prompt holds {special[0]}, which models read as a control token")
    return Critique(answer["previous_step_success"], answer["refine_prompt"].strip(), thought.strip())
