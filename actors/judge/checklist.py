"""The check-list judge: questions made once for an instruction, answered yes or no for each picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actors.judge.prompts import ChecklistPrompts
from actors.judge.question import Asker, Question
from actors.judge.rubric import ask_all, repeated
from rewards.judging.aggregate import over_repeats
from rewards.judging.checklist import failed_questions, render_checklist, render_questions, share_of_yes
from rewards.judging.rubric import combine, describe_images
from rollout.concurrency import all_settled
from rollout.types import CompareRequest, ScoreRequest, Scores


@dataclass(frozen=True)
class ChecklistJudge:
    """Satisfies `rollout.roles.Judge`: semantics is ten times the share of yes, quality the rubric's."""

    asker: Asker
    prompts: ChecklistPrompts
    max_questions: int = 8
    repeats: int = 1
    """Independent answers to the same questions; the scores are their mean."""

    async def score(self, request: ScoreRequest) -> Scores:
        """Return the scores; the reason lists the questions answered no. Raises `JudgeError`, `BudgetSpent`."""
        # One wait more, but only for the first picture of an instruction: then the questions are known.
        [made] = await ask_all(self.asker, [self._ask_for_questions(request.instruction)])
        asked = self._ask_for_answers(request, made["questions"])
        quality = Question(self.prompts.quality.text, (request.after,))
        answers = await ask_all(self.asker, repeated([asked, quality], self.repeats))
        return over_repeats([_look(made["questions"], *pair) for pair in zip(answers[::2], answers[1::2], strict=True)])

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        """Return the scores of the old and the new attempt, each looked at by itself with the same questions.

        Side by side it sees nothing: these are two calls of `score` (`actors.judge.judge.JudgeKind.sees_both`).
        """
        attempts = [ScoreRequest(request.before, image, request.instruction) for image in (request.old, request.new)]
        old, new = await all_settled(map(self.score, attempts))
        return old, new

    async def stats(self) -> dict[str, float]:
        """Return the bill, keyed `judge/...`."""
        return await self.asker.stats()

    def _ask_for_questions(self, instruction: str) -> Question:
        text = render_questions(self.prompts.questions.text, instruction, self.max_questions)
        return Question(text, (), form="questions", size=self.max_questions)

    def _ask_for_answers(self, request: ScoreRequest, questions: list[str]) -> Question:
        images = (request.after,) if request.before is None else (request.before, request.after)
        shown = describe_images(has_before=request.before is not None)
        text = render_checklist(self.prompts.answers.text, request.instruction, questions, shown)
        return Question(text, images, form="checklist", size=len(questions))


def _look(questions: list[str], answer: dict[str, Any], quality: dict[str, object]) -> Scores:
    semantics = share_of_yes(answer["answers"])
    reason = f"{failed_questions(questions, answer['answers'])} ({answer['reasoning']})"
    return combine({"scores": [semantics], "reasoning": reason}, quality)
