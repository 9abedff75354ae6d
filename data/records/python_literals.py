"""Answers from another system's files: Python literals where the contract requires JSON.

The public system shows its models the answer as a Python dictionary (single quotes, True, None) and repairs
what comes back. Such an answer is read as a literal and rewritten as the contract requires, so that models are taught
what is parsed. No other deviation is accepted.
"""

import ast
import json
import re

from rollout.text.critique import CritiqueError, parse_critique
from rollout.text.plan import Mode, Plan, PlanError, parse_plan
from rollout.types import Critique

_BODY = re.compile(r"(.*<answer>)(.*)(</answer>\s*)\Z", re.DOTALL)
_LONGEST = 200_000
"""Characters of the longest literal that is read."""


def read_critique(text: str) -> tuple[Critique, str]:
    """Return a critique, and its text in the contract's form. Raises `CritiqueError`.

    >>> read_critique("<think>a</think><answer>{'previous_step_success': True, 'refine_prompt': 'x'}</answer>")[1]
    '<think>a</think><answer>{"previous_step_success": true, "refine_prompt": "x"}</answer>'
    """
    try:
        return parse_critique(text), text
    except CritiqueError as error:
        rewritten = _as_json(text) if error.kind == "json" else None
        if rewritten is None:
            raise
    return parse_critique(rewritten), rewritten


def read_plan(text: str, mode: Mode) -> tuple[Plan, str]:
    """Return a plan, and its text in the contract's form. Raises `PlanError`."""
    try:
        return parse_plan(text, mode), text
    except PlanError as error:
        rewritten = _as_json(text) if error.kind == "json" else None
        if rewritten is None:
            raise
    return parse_plan(rewritten, mode), rewritten


def _as_json(text: str) -> str | None:
    """Return `text` with its answer as JSON; None if the answer is not a Python literal."""
    match = _BODY.match(text)
    if match is None or len(match[2]) > _LONGEST:
        return None
    try:
        tree = ast.parse(match[2].strip(), mode="eval")
        if _has_a_key_twice(tree):
            return None
        answer = json.dumps(ast.literal_eval(tree), ensure_ascii=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return f"{match[1]}{answer}{match[3]}"


def _has_a_key_twice(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            if len(set(keys)) != len(keys):
                return True
    return False
