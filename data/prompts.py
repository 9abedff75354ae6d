"""The source prompt of a record, which decides whether the record is held out."""

from data.records.sft import SftRecord
from data.table.digest_log import digest_of
from rollout.types import Task


def prompt_digest(prompt: str) -> int:
    """Return the digest of a prompt, ignoring case and whitespace.

    >>> prompt_digest("A red  box") == prompt_digest("a red box\\n") != prompt_digest("a red fox")
    True
    """
    return digest_of(" ".join(prompt.split()).casefold())


def prompt_of(record: Task | SftRecord) -> str:
    """Return a checked record's source prompt."""
    return record.instruction if isinstance(record, Task) else record.source_prompt


def prompt_in(value: object) -> str | None:
    """Return the source prompt of an unchecked record; None if it has none.

    >>> prompt_in({"messages": [{"role": "user", "content": "a box"}, {"role": "assistant", "content": "x"}]})
    'a box'
    """
    if not isinstance(value, dict):
        return None
    for name in ("origin_prompt", "source_prompt"):
        prompt = value.get(name)
        if isinstance(prompt, str):
            return prompt
    messages = value.get("messages")
    turns = [turn for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    asked = [str(turn.get("content")) for turn in turns if turn.get("role") == "user"]
    return "\n".join(asked) if asked else None
