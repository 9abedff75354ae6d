"""An asker with an answer to everything: no model, no network, each distinct question paid for once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from actors.judge.question import Question
from actors.metered.retry import CallError, Fault
from rollout.roles import BudgetSpent

Reply = Callable[[Question], dict[str, Any]]


class FakeAsker:
    """Answers by `reply`; keeps the questions asked (`asked`) and those paid for (`paid`)."""

    def __init__(self, reply: Reply):
        self.reply = reply
        self.asked: list[Question] = []
        self.paid: dict[Question, dict[str, Any]] = {}

    async def ask(self, question: Question) -> dict[str, Any]:
        self.asked.append(question)
        assert question.text.count("<image>") == len(question.images)
        if question not in self.paid:
            self.paid[question] = self.reply(question)
        return self.paid[question]

    async def stats(self) -> dict[str, float]:
        return {"judge/calls": float(len(self.asked)), "judge/attempts": float(len(self.paid))}


def is_about_quality(question: Question) -> bool:
    return "how well the picture is made" in question.text or "how well each is made" in question.text


@dataclass(frozen=True)
class ByImage:
    """Scores images by their names, and answers check-lists by the same numbers.

    The questions of a check-list are "is it 1?" to "is it 4?"; an image of semantics 5 gets yes twice.
    """

    semantics: dict[str, float]
    quality: float = 8.0

    def __call__(self, question: Question) -> dict[str, Any]:
        if question.form == "questions":
            return {"questions": [f"is it {number}?" for number in range(1, min(question.size, 4) + 1)]}
        if question.form == "checklist":
            num_yes = self.semantics[question.images[-1]] / 10 * question.size
            return {"answers": [number < num_yes for number in range(question.size)], "reasoning": "counted"}
        if question.form == "pair":
            first, second = (self._score(question, image) for image in question.images[-2:])
            return {"first": [first, 10.0], "second": [second, 10.0], "reasoning": "side by side"}
        return {"scores": [10.0, self._score(question, question.images[-1])], "reasoning": "seen"}

    def _score(self, question: Question, image: str) -> float:
        return self.quality if is_about_quality(question) else self.semantics[image]


def failing(question: Question) -> dict[str, Any]:
    """Play an endpoint that is down."""
    raise CallError(Fault("timeout", "no answer in time"))


def broke(question: Question) -> dict[str, Any]:
    """Play a budget that is spent."""
    raise BudgetSpent("the budget of judge is spent")
