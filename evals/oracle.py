"""Critics that know what no critic can know: how much is lost by verdicts, and how much by prompts.

    perfect verdict   a critic's prompts, but the judge's bar decides what is accepted
    perfect critic    ... and each prompt is the best one known for its step: the most that a critic could reach

Both are asked for every try, on their own images; a step's first prompt is the planner's, as for any critic.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from evals.stories import Bar, EvalStory
from rollout.roles import Critic, Judge
from rollout.text.critique import CritiqueError, format_critique, parse_critique
from rollout.types import Attempt, CriticInput, Critique, ModelAnswer, ScoreRequest

PERFECT_CRITIC = "perfect critic"
PERFECT_VERDICT = "perfect verdict"
Rephrase = Callable[[str], str]
"""The best prompt for an instruction."""


@dataclass(frozen=True)
class PerfectVerdict:
    """Accepts what reaches the bar, by the story's true instruction; prompts are those of `critic`."""

    critic: Critic
    judge: Judge
    bar: Bar
    story: EvalStory

    async def criticise(self, shown: CriticInput, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return an answer with the true verdict; one of the critic's that cannot be read stays as it is."""
        instruction = self._true_instruction(shown)
        scores = await self.judge.score(ScoreRequest(shown.before, shown.after, instruction))
        if self.bar.is_reached(scores):
            return ModelAnswer(seed, format_critique(Critique(True, shown.prompt or instruction)))
        answer = await self.critic.criticise(shown, seed, repeat)
        try:
            critique = parse_critique(answer.text)
        except CritiqueError:
            return answer
        return replace(answer, text=format_critique(replace(critique, is_success=False)))

    def _true_instruction(self, shown: CriticInput) -> str:
        """Return what the step has to show, which its plan may have got wrong."""
        assert isinstance(shown, Attempt)
        is_there = shown.step <= len(self.story.instructions)
        return self.story.instructions[shown.step - 1] if is_there else shown.instruction


@dataclass(frozen=True)
class Rephraser:
    """Says the best prompt for the step that it is shown; its verdict counts for nothing."""

    rephrase: Rephrase

    async def criticise(self, shown: CriticInput, seed: int, repeat: int = 0) -> ModelAnswer:
        """Return an answer that refuses. Raises ValueError for an instruction that it cannot read."""
        return ModelAnswer(seed, format_critique(Critique(False, self.rephrase(shown.instruction))))
