"""The rubric judge: semantics (SC) and quality (PQ) asked apart, after VIEScore (arXiv 2312.14867, section 3)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from actors.judge.prompts import RubricPrompts
from actors.judge.question import Asker, Question
from actors.metered.retry import CallError
from rewards.judging.aggregate import over_repeats
from rewards.judging.rubric import combine, render_semantics
from rollout.roles import BudgetSpent, JudgeError
from rollout.types import CompareRequest, ScoreRequest, Scores


@dataclass(frozen=True)
class RubricJudge:
    """Satisfies `rollout.roles.Judge`: two questions a look, the smaller score of each counts."""

    asker: Asker
    prompts: RubricPrompts
    repeats: int = 1
    """Independent answers to each question; the scores are their mean."""

    async def score(self, request: ScoreRequest) -> Scores:
        """Return the scores. Raises `JudgeError` when none can be had, `BudgetSpent` at the end of the money."""
        images = (request.after,) if request.before is None else (request.before, request.after)
        text = render_semantics(self.prompts.semantics.text, request.instruction, has_before=request.before is not None)
        quality = Question(self.prompts.quality.text, (request.after,))
        answers = await ask_all(self.asker, repeated([Question(text, images), quality], self.repeats))
        return over_repeats([combine(*pair) for pair in zip(answers[::2], answers[1::2], strict=True)])

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        """Return the scores of the old and the new attempt; each question shows them side by side.

        Judges favour a place, so the places change with each repeat and, by a digest, from one comparison
        to the next: over tasks neither attempt is favoured.
        """
        questions = [question for repeat in range(self.repeats) for question in self._pair_questions(request, repeat)]
        answers = await ask_all(self.asker, questions)
        old, new = [], []
        for repeat in range(self.repeats):
            semantics, quality = answers[2 * repeat : 2 * repeat + 2]
            first, second = (_side(semantics, quality, place) for place in ("first", "second"))
            if is_swapped(request, repeat):
                first, second = second, first
            old.append(first)
            new.append(second)
        return over_repeats(old), over_repeats(new)

    async def stats(self) -> dict[str, float]:
        """Return the bill, keyed `judge/...`."""
        return await self.asker.stats()

    def _pair_questions(self, request: CompareRequest, repeat: int) -> list[Question]:
        pair = (request.new, request.old) if is_swapped(request, repeat) else (request.old, request.new)
        has_before = request.before is not None
        text = render_semantics(
            self.prompts.semantics_pair.text, request.instruction, has_before=has_before, is_pair=True
        )
        images = pair if request.before is None else (request.before, *pair)
        return [
            Question(text, images, form="pair", repeat=repeat),
            Question(self.prompts.quality_pair.text, pair, form="pair", repeat=repeat),
        ]


def is_swapped(request: CompareRequest, repeat: int) -> bool:
    """Return whether the new attempt is shown first: every other repeat, starting by a digest of the comparison.

    The recorded attempt and the instruction alone decide on the start, so that all samples of a task are
    shown in the same place: a judge's bias for a place cannot make one response better than its siblings.
    """
    digest = hashlib.sha256(f"{request.old}\0{request.instruction}".encode(errors="replace")).digest()
    return (digest[0] + repeat) % 2 == 1


async def ask_all(asker: Asker, questions: Sequence[Question]) -> list[dict[str, Any]]:
    """Return the answers in order, asked all at once. Raises `JudgeError` or `BudgetSpent`.

    All are awaited even when one fails: what the others say is paid for, and kept for the next try.
    """
    answers = await asyncio.gather(*map(asker.ask, questions), return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    for error in sorted(errors, key=lambda error: not isinstance(error, BudgetSpent)):
        if isinstance(error, CallError):
            raise JudgeError(str(error)) from error
        if isinstance(error, FileNotFoundError):
            raise JudgeError(f"no_image: {error}") from error
        raise error
    return [answer for answer in answers if not isinstance(answer, BaseException)]


def repeated(questions: Sequence[Question], repeats: int) -> list[Question]:
    """Return the questions of all repeats, repeat by repeat."""
    return [replace(question, repeat=repeat) for repeat in range(repeats) for question in questions]


def _side(semantics: dict[str, object], quality: dict[str, object], place: str) -> Scores:
    asked = [{"scores": answer[place], "reasoning": answer["reasoning"]} for answer in (semantics, quality)]
    return combine(*asked)
