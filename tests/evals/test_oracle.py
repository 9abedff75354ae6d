"""Critics that know the truth: verdicts by the judge's bar, prompts by what is known of the world."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from evals.oracle import PerfectVerdict, Rephraser
from evals.stories import Arm, Bar, EvalStory, StoryEval, TryRow
from recipes.shapes.stories import best_phrasing
from recipes.shapes.world import parse
from rollout.agents import FunctionPlanner, ModelCritic
from rollout.text.plan import Plan, PlanStep
from rollout.types import SamplingParams, Scores
from rollout.verdict import VerdictRule
from tests.support.fakes import FakeJudge
from tests.support.storytelling import CRITIC_PROMPT, Script, accept, reject, storyline

STORY = EvalStory("a", "draw a", ("one", "two"))


class Reads(FakeJudge):
    """Wants the image to be of its instruction."""

    async def score(self, request):
        score = 9.0 if request.after == f"image of {request.instruction}" else 3.0
        return Scores(score, score)


def plan(text: str, num_images: int) -> Plan:
    """Get the second step wrong, in instruction and prompt."""
    return Plan(tuple(PlanStep(number, name, name, name) for number, name in enumerate(("one", "three"), 1)))


def told(critic, tries: int = 3, **settings) -> Arm:
    line = replace(storyline(**settings), planner=FunctionPlanner(plan))
    trial = StoryEval(line, Reads(), [STORY])
    critic_of = partial(PerfectVerdict, critic, trial.judge, Bar())
    return asyncio.run(trial.with_oracle("sft", critic_of, tries))


def says(*lines: str) -> ModelCritic:
    return ModelCritic(Script(*lines), CRITIC_PROMPT, SamplingParams())


def test_a_perfect_verdict_goes_by_the_true_instruction_and_keeps_the_critics_prompts():
    arm = told(says(accept("four"), reject("two")))
    assert arm.is_oracle
    assert [row.tries for row in arm.rows] == [
        (TryRow(True, True),),
        (TryRow(False, False), TryRow(False, False), TryRow(True, True)),
    ]


def test_an_answer_that_cannot_be_read_is_asked_for_again():
    (_, row) = told(says("what?", reject("two"))).rows
    assert row.tries == (TryRow(False, False), TryRow(True, True))


def test_votes_and_thresholds_are_not_asked_of_those_who_know():
    arm = told(says(reject("two")), rule=VerdictRule(votes=3, threshold=0.9))
    assert [row.is_satisfied for row in arm.rows] == [True, True]


def test_a_perfect_critic_says_the_best_prompt_that_is_known():
    arm = told(Rephraser({"one": "one", "three": "two"}.__getitem__))
    assert [row.num_tries for row in arm.rows] == [1, 2]
    assert [row.is_satisfied for row in arm.rows] == [True, True]


def test_the_shapes_worlds_best_phrasing_means_the_same():
    assert parse(best_phrasing("a ruby dot at the summit")) == parse("a ruby dot at the summit")
    assert best_phrasing(best_phrasing("a navy tile at the base")) == best_phrasing("a navy tile at the base")
    with pytest.raises(ValueError, match="cannot read"):
        best_phrasing("a cat")
