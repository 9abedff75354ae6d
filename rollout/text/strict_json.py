"""Read a model's JSON strictly: exactly the stated object, or an error with a name; never a guess."""

import json
from collections import Counter
from collections.abc import Collection

from rollout.text.foreign import value_text, writable
from rollout.text.type_names import json_type
from rollout.text.unwrap import unwrapped

MIN_SCORE, MAX_SCORE = 0.0, 10.0


class AnswerError(ValueError):
    """A model's answer cannot be used; `kind` is a short stable name to count by."""

    def __init__(self, kind: str, detail: str):
        self.kind, self.detail = kind, writable(detail)
        super().__init__(f"{kind}: {self.detail}")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.kind, self.detail)


class RubricError(AnswerError):
    """The judge's answer cannot be used."""


class DuplicateKeyError(ValueError):
    """An object has a key more than once; says which."""

    def __init__(self, keys: list[str]):
        super().__init__(f"duplicate keys in {keys[:5]}")
        self.key = Counter(keys).most_common(1)[0][0]


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object read from JSON (`object_pairs_hook`). Raises `DuplicateKeyError`; Python keeps the last."""
    record = dict(pairs)
    if len(record) != len(pairs):
        raise DuplicateKeyError([key for key, _ in pairs])
    return record


def read_object(text: str, keys: Collection[str]) -> dict[str, object]:
    """Return the JSON object with exactly these keys, bare or in one wrapping; raise `RubricError` for all else.

    `rollout.text.unwrap` lists the wrappings: a number found somewhere in prose would be a reward made of noise.

    >>> read_object('```json\\n{"a": 1}\\n```', {"a"})
    {'a': 1}
    """
    body, _ = unwrapped(text)
    try:
        # A raw line break inside a string is all that is forgiven: it changes no value, and judges write it often.
        answer = json.loads(body, object_pairs_hook=unique_keys, strict=False)
    except (ValueError, RecursionError) as error:
        raise RubricError("unreadable", f"{str(error)[:200]} in {body[:200]!r}") from None
    if not isinstance(answer, dict) or set(answer) != set(keys):
        raise RubricError("shape", f"expected an object with {sorted(keys)}, got {body[:200]!r}")
    return answer


def check_list(value: object, name: str, fewest: int, most: int) -> list[object]:
    """Return a list of `fewest` to `most` items; raise `RubricError` for all else."""
    if not isinstance(value, list) or not fewest <= len(value) <= most:
        wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        found = f"{len(value)} of them" if isinstance(value, list) else json_type(value)
        raise RubricError("shape", f"{name}: expected a list of {wanted}, got {found}")
    return value


def check_text(value: object, name: str) -> str:
    """Return a string that can be written anywhere: trimmed, without lone surrogates."""
    if not isinstance(value, str):
        raise RubricError("shape", f"{name} is {json_type(value)}, expected a string")
    return value.encode(errors="replace").decode().strip()


def check_score(score: object) -> float:
    """Return a score as a float; raise `RubricError` unless it is a number in [0, 10].

    >>> check_score(7)
    7.0
    """
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise RubricError("not_number", f"a score is {excerpt(score)}, expected a number from 0 to 10")
    if not MIN_SCORE <= score <= MAX_SCORE:  # a NaN is not between anything
        raise RubricError("range", f"a score is {excerpt(score)}, expected a number from 0 to 10")
    return float(score)


def excerpt(value: object) -> str:
    """Return a value for an error's text; lists and objects may be as deep as the stack, so only by their type.

    >>> excerpt("7"), excerpt(None), excerpt([[]])
    ("'7'", 'None', 'a list')
    """
    return json_type(value) if isinstance(value, (list, dict)) else value_text(value)[:100]
