"""How sure a critic was of its verdict."""

import math
import re
from collections.abc import Sequence
from enum import StrEnum

_PLACE = re.compile(r"""["']previous_step_success["']\s*:\s*(true|false)""", re.IGNORECASE)


class SureBy(StrEnum):
    """Where the probability of an answer's verdict is looked for."""

    VERDICT = "verdict"
    """Its first token alone, given all that was said before: p where it says true, 1 - p where it says false, the other
    tokens being left out of account."""
    ANSWER = "answer"
    """All tokens up to that one, the thought's too: they hold the doubts of a critic that makes up its mind there. What
    the answer leaves open is taken for either verdict alike: (1 + p) / 2 where it says true, (1 - p) / 2 where it says
    false. For short thoughts: the longer one is, the less probable it is, whatever it says."""


def success_probability(
    pieces: Sequence[str], logprobs: Sequence[float], sure_by: str = SureBy.VERDICT
) -> float | None:
    """Return the probability with which an answer could have said that the step succeeded; None: it says nothing of it.

    `pieces` are the texts of its tokens, `logprobs` theirs, as they were drawn.

    >>> answer = ["a box", "<answer>", '{"previous', '_step_success":', " true", ', "refine_prompt": "a"}</answer>']
    >>> logprobs = [math.log(0.8), 0.0, 0.0, 0.0, math.log(0.75), 0.0]
    >>> [round(success_probability(answer, logprobs, by), 6) for by in SureBy]
    [0.75, 0.8]
    """
    text = "".join(pieces)
    match = _PLACE.search(text, max(0, text.find("<answer>")))
    if match is None:
        return None
    end, before, is_success = 0, 0.0, match[1].lower() == "true"
    for piece, logprob in zip(pieces, logprobs, strict=True):
        end += len(piece)
        if end > match.start(1):
            whole = sure_by == SureBy.ANSWER
            drawn = min(1.0, math.exp(float(logprob) + (before if whole else 0.0)))
            probability = drawn if is_success else 1.0 - drawn
            return (probability + is_success) / 2 if whole else probability
        before += float(logprob)
    raise AssertionError("the verdict is in no piece")
