"""How sure a critic was of its verdict."""

import math
import re
from collections.abc import Sequence

_PLACE = re.compile(r"""["']previous_step_success["']\s*:\s*(true|false)""", re.IGNORECASE)


def success_probability(pieces: Sequence[str], logprobs: Sequence[float]) -> float | None:
    """Return the probability with which an answer could have said that the step succeeded; None: it says nothing of it.

    That is, of its verdict's first token, as it was drawn: p where it says true, 1 - p where it says false, the other
    tokens being left out of account. `pieces` are the texts of its tokens, `logprobs` theirs.

    >>> answer = ["<answer>", '{"previous', '_step_success":', " true", ', "refine_prompt": "a"}</answer>']
    >>> round(success_probability(answer, [0.0, 0.0, 0.0, math.log(0.75), 0.0]), 6)
    0.75
    """
    text = "".join(pieces)
    match = _PLACE.search(text, max(0, text.find("<answer>")))
    if match is None:
        return None
    end = 0
    for piece, logprob in zip(pieces, logprobs, strict=True):
        end += len(piece)
        if end > match.start(1):
            drawn = min(1.0, math.exp(float(logprob)))
            return drawn if match[1].lower() == "true" else 1.0 - drawn
    raise AssertionError("the verdict is in no piece")
