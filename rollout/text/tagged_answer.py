"""How planner and critic answer: `<think>...</think><answer>{...}</answer>`, the answer as JSON."""

import json
import re
from collections.abc import Collection, Mapping

from rollout.text.marks import TAGS, has_tag, without_tags
from rollout.text.strict_json import AnswerError, unique_keys
from rollout.text.type_names import json_type

_ANSWER = re.compile(r"\A\s*(?:<think>(.*?)</think>\s*)?<answer>(.*?)</answer>\s*\Z", re.DOTALL)


def format_answer(answer: Mapping[str, object], thought: str | None) -> str:
    """Return the text that `read_answer` reads back; without a thought (None) it has no tags of one."""
    if thought is not None and has_tag(thought):
        raise ValueError(f"a thought may not hold any of {', '.join(TAGS)}")
    body = without_tags(json.dumps(answer, ensure_ascii=False))
    return f"{'' if thought is None else f'<think>{thought}</think>'}<answer>{body}</answer>"


def read_answer(
    text: str, keys: Collection[str], error_type: type[AnswerError], *, needs_thought: bool
) -> tuple[str, dict[str, object]]:
    """Return the thought and the object with exactly these keys; raise `error_type` for anything else.

    Strict on purpose: a lenient parser would teach the policy that sloppy answers pay.
    """
    if any(text.count(tag) > 1 for tag in TAGS):
        raise error_type("repeated_tags", f"each of {', '.join(TAGS)} may stand once")
    match = _ANSWER.match(text)
    if match is None or (needs_thought and match[1] is None):
        expected = "<think>...</think><answer>...</answer>"
        if not needs_thought:
            expected = "<answer>...</answer>, or <think>...</think> before it,"
        raise error_type("tags", f"expected {expected} and nothing else")
    try:
        answer = json.loads(match[2], object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        raise error_type("json", str(error)[:200]) from None
    return (match[1] or "").strip(), checked_object(answer, keys, error_type)


def checked_object(answer: object, keys: Collection[str], error_type: type[AnswerError]) -> dict[str, object]:
    """Return what was read, an object with exactly these keys; raise `error_type` for anything else."""
    if not isinstance(answer, dict):
        raise error_type("not_object", f"the answer is {json_type(answer)}, expected an object")
    if set(answer) != set(keys):
        raise error_type("keys", f"found {sorted(answer)[:5]}, expected {sorted(keys)}")
    return answer
