"""Answers in the public system's files, where they differ from the contract: each deviation that is read has a name.

Its prompts show the answer as a Python dictionary, its teacher's answers may be JSON without tags, and a success has an
empty prompt. Such an answer is rewritten as the contract requires, so that models are taught what is parsed. No other
deviation is accepted.
"""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

from rollout.text.critique import CritiqueError, parse_critique
from rollout.text.marks import without_tags
from rollout.text.plan import Mode, Plan, PlanError, parse_plan
from rollout.text.strict_json import unique_keys
from rollout.types import Critique

LENIENCIES = {
    "python_literal": "answers are Python literals; they are read, and taught, as JSON",
    "no_tags": "answers are JSON without tags; they are read, and taught, in tags",
    "empty_success": "successes have an empty refine_prompt; they are taught the prompt that the image was made with",
}
"""What is read though it is not the contract's form, and what becomes of it."""

T = TypeVar("T", Critique, Plan)

_TAGGED = re.compile(r"(.*<answer>)(.*)(</answer>\s*)\Z", re.DOTALL)
_BARE = re.compile(r"\s*(<think>(?:(?!<think>|</think>).)*</think>)?\s*(\{.*\})\s*\Z", re.DOTALL)
_QUOTED = re.compile(r'[^"]*?: "(.*)"[ \t]*\Z')
_LONGEST = 200_000
"""Characters of the longest answer that is rewritten."""


@dataclass(frozen=True, slots=True)
class Read(Generic[T]):
    """An answer that was read."""

    answer: T
    text: str
    """In the contract's form."""
    leniencies: tuple[str, ...] = ()
    """Of `LENIENCIES`; none: it was in that form."""


def read_critique(text: str, asked: str = "") -> Read[Critique]:
    """Return a critique. `asked` is the message that it answers. Raises `CritiqueError`.

    >>> read_critique("<think>a</think><answer>{'previous_step_success': True, 'refine_prompt': 'x'}</answer>").text
    '<think>a</think><answer>{"previous_step_success": true, "refine_prompt": "x"}</answer>'
    """
    try:
        return Read(parse_critique(text), text)
    except CritiqueError as error:
        loaded = _loaded(text) if error.kind in ("json", "tags", "empty_prompt") else None
        if loaded is None:
            raise
        begin, answer, end, leniencies = loaded
        if answer.get("previous_step_success") is True and not str(answer.get("refine_prompt", "-")).strip():
            if not (own := prompt_used(asked)):
                raise
            answer["refine_prompt"] = own
            leniencies.append("empty_success")
    rewritten = f"{begin}{without_tags(json.dumps(answer, ensure_ascii=False))}{end}"
    return Read(parse_critique(rewritten), rewritten, tuple(leniencies))


def read_plan(text: str, mode: Mode) -> Read[Plan]:
    """Return a plan. Raises `PlanError`."""
    try:
        return Read(parse_plan(text, mode), text)
    except PlanError as error:
        loaded = _loaded(text) if error.kind in ("json", "tags") else None
        if loaded is None:
            raise
        begin, answer, end, leniencies = loaded
        rewritten = f"{begin}{without_tags(json.dumps(answer, ensure_ascii=False))}{end}"
    return Read(parse_plan(rewritten, mode), rewritten, tuple(leniencies))


def prompt_used(asked: str) -> str:
    """Return the prompt that an attempt's image was made with, as the public system's question ends by saying it.

    Two lines below each other end in a quoted text: the instruction, and the prompt that replaced it, or nothing.

    >>> prompt_used('Instruction: "a box"\\nRewritten (if any): ""'), prompt_used("How good is it?")
    ('a box', '')
    """
    ends = [quoted[1] if (quoted := _QUOTED.match(line)) else None for line in asked.splitlines()]
    found = [(first, second) for first, second in pairwise(ends) if first is not None and second is not None]
    if len(found) != 1:
        return ""
    instruction, rewritten = found[0]
    return rewritten.strip() or instruction.strip()


def _loaded(text: str) -> tuple[str, dict[str, object], str, list[str]] | None:
    """Return what stands before, in and after an answer, and its deviations; None if it is no object at all."""
    leniencies = []
    if (tagged := _TAGGED.match(text)) is not None:
        begin, body, end = tagged.groups()
    elif (bare := _BARE.match(text)) is not None:
        begin, body, end = f"{bare[1] or ''}<answer>", bare[2], "</answer>"
        leniencies.append("no_tags")
    else:
        return None
    if len(body) > _LONGEST:
        return None
    try:
        answer = json.loads(body, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError):
        answer = _literal(body)
        leniencies.append("python_literal")
    if not isinstance(answer, dict):
        return None
    if leniencies[:1] == ["no_tags"] and not begin.startswith("<think>"):
        begin = f"{_thought(answer)}{begin}"
    return begin, answer, end, leniencies


def _thought(answer: dict[str, object]) -> str:
    """Take the thought out of an answer without tags, which has it as one of its keys."""
    thought = answer.get("reasoning", "")
    if not isinstance(thought, str):
        return ""
    answer.pop("reasoning", None)
    return f"<think>{thought}</think>"


def _literal(body: str) -> object:
    """Return the value of a Python literal that JSON can hold; None if it is not one."""
    try:
        tree = ast.parse(body.strip(), mode="eval")
        if _has_a_key_twice(tree):
            return None
        return json.loads(json.dumps(ast.literal_eval(tree)))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _has_a_key_twice(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys: Sequence[object] = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            if len(set(keys)) != len(keys):
                return True
    return False
