"""The judge's rubric, after VIEScore (arXiv 2312.14867): what is asked, and how strictly an answer is read."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from rollout.types import Scores

IMAGE_MARK = "<image>"
NUM_SCORES = 2
MIN_SCORE, MAX_SCORE = 0.0, 10.0
EDITED = "The image before: <image>\nThe image after the instruction was carried out: <image>"
DRAWN = "There is no image before: this one was drawn from the instruction alone: <image>"

_FENCE = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n[ \t]*```\Z", re.DOTALL)
_KEYS = {"reasoning", "score"}


class RubricError(ValueError):
    """The judge's answer gives no scores; `kind` is a short stable name to count by."""

    def __init__(self, kind: str, detail: str):
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


@dataclass(frozen=True, slots=True)
class RubricAnswer:
    """One rubric's two scores, each in [0, 10]."""

    scores: tuple[float, float]
    reasoning: str


def render_semantics(template: str, instruction: str, *, has_before: bool) -> str:
    """Return the semantics question with an `<image>` mark for each image, before and after or after alone.

    >>> render_semantics("{images} Asked: {instruction}", "a red box", has_before=False)
    'There is no image before: this one was drawn from the instruction alone: <image> Asked: a red box'
    """
    for mark in ("{images}", "{instruction}"):
        if template.count(mark) != 1:
            raise ValueError(f"a semantics rubric needs {mark} once, found {template.count(mark)}")
    # An instruction may hold braces or even an image mark: it is put in last and its marks are taken out.
    asked = instruction.replace(IMAGE_MARK, "")
    return template.replace("{images}", EDITED if has_before else DRAWN).replace("{instruction}", asked)


def parse_answer(text: str) -> RubricAnswer:
    """Read `{"reasoning": str, "score": [a, b]}`, bare or in one json fence; raise `RubricError` for all else.

    Never guesses: a number found somewhere in prose would be a reward made of noise.

    >>> parse_answer('{"reasoning": "the box is blue", "score": [3, 8.5]}')
    RubricAnswer(scores=(3.0, 8.5), reasoning='the box is blue')
    """
    body = text.strip()
    if (fenced := _FENCE.match(body)) is not None:
        body = fenced.group(1)
    try:
        answer = json.loads(body, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise RubricError("unreadable", f"{str(error)[:200]} in {body[:200]!r}") from None
    if not isinstance(answer, dict) or set(answer) != _KEYS:
        raise RubricError("shape", f"expected an object with {sorted(_KEYS)}, got {body[:200]!r}")
    scores = answer["score"]
    if not isinstance(scores, list) or len(scores) != NUM_SCORES:
        raise RubricError("shape", f"expected {NUM_SCORES} scores, got {str(scores)[:200]}")
    if not isinstance(answer["reasoning"], str):
        raise RubricError("shape", f"reasoning is a {type(answer['reasoning']).__name__}, expected a string")
    first, second = (check_score(score) for score in scores)
    return RubricAnswer((first, second), answer["reasoning"].strip())


def check_score(score: Any) -> float:
    """Return a score as a float; raise `RubricError` unless it is a finite number in [0, 10].

    >>> check_score(7)
    7.0
    """
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise RubricError("not_number", f"a score is {score!r}, expected a number from 0 to 10")
    if not math.isfinite(score) or not MIN_SCORE <= score <= MAX_SCORE:
        raise RubricError("range", f"a score is {score!r}, expected a number from 0 to 10")
    return float(score)


def combine(semantics: RubricAnswer, quality: RubricAnswer) -> Scores:
    """Return the smaller score of each rubric (VIEScore, eq. 2: one broken aspect breaks the image).

    >>> combine(RubricAnswer((3.0, 8.0), "blue"), RubricAnswer((9.0, 7.0), "clean"))
    Scores(semantics=3.0, quality=7.0, reason='blue | clean')
    """
    reason = f"{semantics.reasoning} | {quality.reasoning}"
    return Scores(min(semantics.scores), min(quality.scores), reason)


def check_scores(scores: Any) -> Scores:
    """Return what an embedded scorer gave, checked and as plain floats. Raises `RubricError`."""
    if not isinstance(scores, Scores):
        raise RubricError("shape", f"a scorer returned a {type(scores).__name__}, expected Scores")
    return Scores(check_score(scores.semantics), check_score(scores.quality), str(scores.reason))


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"duplicate keys in {keys[:5]}")
    return dict(pairs)
