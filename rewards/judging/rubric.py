"""The judge's rubric, after VIEScore (arXiv 2312.14867): its questions, and strict reading of the answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rewards.judging.checklist import parse_checklist, parse_questions
from rollout.text.prompt_file import check_template, fill
from rollout.text.strict_json import MAX_SCORE, MIN_SCORE, RubricError, check_list, check_score, check_text, read_object
from rollout.types import Scores

__all__ = ["FORMS", "NUM_SCORES", "Form", "RubricError"]

Schema = dict[str, Any]
Answer = dict[str, object]

NUM_SCORES = 2
EDITED = "The image before: <image>\nThe image after the instruction was carried out: <image>"
DRAWN = "There is no image before: this one was drawn from the instruction alone: <image>"
EDITED_PAIR = "The image before: <image>\nThe first image after: <image>\nThe second image after: <image>"
DRAWN_PAIR = (
    "There is no image before: both were drawn from the instruction alone.\n"
    "The first image: <image>\nThe second image: <image>"
)


@dataclass(frozen=True, slots=True)
class Form:
    """One shape of answer; `size` is the number of values that it must hold."""

    parse: Callable[[str, int], Answer]
    """Read an answer's text; raises only `RubricError`."""
    shape: Callable[[int, Schema], Schema]
    """The answer's JSON schema, from its size and the schema of a text."""

    def schema(self, size: int, *, max_chars: int = 0) -> Schema:
        """Return the JSON schema for servers with structured output.

        `max_chars` bounds each text (0: no bound), so that a small model cannot ramble until its tokens run out. vLLM
        and SGLang support it, OpenAI's strict mode rejects it.
        """
        return self.shape(size, {"type": "string", "maxLength": max_chars} if max_chars else {"type": "string"})


def describe_images(*, has_before: bool, is_pair: bool = False) -> str:
    """Return the words around the images, with an `<image>` mark for each, in order."""
    if is_pair:
        return EDITED_PAIR if has_before else DRAWN_PAIR
    return EDITED if has_before else DRAWN


def render_semantics(template: str, instruction: str, *, has_before: bool, is_pair: bool = False) -> str:
    """Return the semantics question with an `<image>` mark for each image: before (if any), then what came after.

    >>> render_semantics("{images} Asked: {instruction}", "a red box", has_before=False)
    'There is no image before: this one was drawn from the instruction alone: <image> Asked: a red box'
    """
    check_template(template, ("images", "instruction"), num_images=0, name="a semantics rubric")
    images = describe_images(has_before=has_before, is_pair=is_pair)
    return fill(template, {"images": images, "instruction": instruction})


def parse_scores(text: str, size: int = NUM_SCORES) -> Schema:
    """Read `{"reasoning": str, "score": [a, b]}`.

    >>> parse_scores('{"reasoning": "the box is blue", "score": [3, 8.5]}')
    {'scores': [3.0, 8.5], 'reasoning': 'the box is blue'}
    """
    answer = read_object(text, {"reasoning", "score"})
    scores = _check_scores(answer["score"], "score", size)
    return {"scores": scores, "reasoning": check_text(answer["reasoning"], "reasoning")}


def parse_pair(text: str, size: int = NUM_SCORES) -> Schema:
    """Read `{"reasoning": str, "first": [a, b], "second": [a, b]}`.

    >>> parse_pair('{"reasoning": "the second is right", "first": [3, 8], "second": [9, 8]}')
    {'first': [3.0, 8.0], 'second': [9.0, 8.0], 'reasoning': 'the second is right'}
    """
    answer = read_object(text, {"reasoning", "first", "second"})
    first, second = (_check_scores(answer[name], name, size) for name in ("first", "second"))
    return {"first": first, "second": second, "reasoning": check_text(answer["reasoning"], "reasoning")}


def combine(semantics: Mapping[str, Any], quality: Mapping[str, Any]) -> Scores:
    """Return the lower score of each rubric (VIEScore, eq. 2: one broken aspect spoils the image).

    >>> combine({"scores": [3.0, 8.0], "reasoning": "blue"}, {"scores": [9.0, 7.0], "reasoning": "clean"})
    Scores(semantics=3.0, quality=7.0, reason='blue | clean', spread=0.0)
    """
    reason = f"{semantics['reasoning']} | {quality['reasoning']}"
    return Scores(min(semantics["scores"]), min(quality["scores"]), reason)


def check_scores(scores: object, who: str = "a scorer") -> Scores:
    """Return the scores that a function or method of the user's returned, checked and as plain floats.

    Raises `RubricError` that begins with `who` it is.
    """
    if not isinstance(scores, Scores):
        raise RubricError("shape", f"{who} returned a {type(scores).__name__}, expected Scores")
    try:
        return Scores(check_score(scores.semantics), check_score(scores.quality), str(scores.reason))
    except RubricError as error:
        raise RubricError(error.kind, f"{who} returned {scores!r}: {error.detail}") from None


def _check_scores(value: object, name: str, size: int) -> list[float]:
    return [check_score(score) for score in check_list(value, name, size, size)]


_SCORE: Schema = {"type": "number", "minimum": MIN_SCORE, "maximum": MAX_SCORE}
_YES_OR_NO: Schema = {"type": "string", "enum": ["yes", "no"]}


def _list(item: Schema, fewest: int, most: int) -> Schema:
    return {"type": "array", "items": item, "minItems": fewest, "maxItems": most}


def _object(**properties: object) -> Schema:
    # Reasons come before scores: a model that scores first only justifies an unconsidered number.
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _rubric_shape(size: int, text: Schema) -> Schema:
    return _object(reasoning=text, score=_list(_SCORE, size, size))


def _pair_shape(size: int, text: Schema) -> Schema:
    return _object(reasoning=text, first=_list(_SCORE, size, size), second=_list(_SCORE, size, size))


def _checklist_shape(size: int, text: Schema) -> Schema:
    return _object(reasoning=text, answers=_list(_YES_OR_NO, size, size))


def _questions_shape(size: int, text: Schema) -> Schema:
    return _object(questions=_list(text, 1, size))


FORMS: dict[str, Form] = {
    "rubric": Form(parse_scores, _rubric_shape),
    "pair": Form(parse_pair, _pair_shape),
    "checklist": Form(parse_checklist, _checklist_shape),
    "questions": Form(parse_questions, _questions_shape),
}
"""How to read a question's answer, by the name that the question gives (`actors.judge.question.Question.form`)."""
