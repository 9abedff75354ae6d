"""A verdict from several answers, or from how sure one was."""

import asyncio
import math
from dataclasses import replace

import pytest

from rollout.agents import ModelCritic
from rollout.roles import BudgetSpent
from rollout.stages import StageTimer
from rollout.step_runner import StepRunner
from rollout.text.critique import format_critique, parse_critique
from rollout.text.readers import Reading
from rollout.text.success_probability import success_probability
from rollout.types import Attempt, Critique, ModelAnswer, Response, SamplingParams
from rollout.verdict import VerdictRule, ask_for_verdict
from tests.support.fakes import FakeGenerator
from tests.support.storytelling import CRITIC_PROMPT

YES, NO, NEVER = Critique(True, "as it is"), Critique(False, "bigger"), Critique(False, "redder")


class Jury:
    """Answers in the order in which it is asked, and keeps the seeds."""

    def __init__(self, *answers: Critique | str | Exception, probabilities: tuple[float | None, ...] = ()):
        self.answers, self.probabilities, self.seeds = answers, probabilities, []

    async def __call__(self, seed: int, repeat: int) -> ModelAnswer:
        place = len(self.seeds)
        self.seeds.append(seed)
        answer = self.answers[place]
        if isinstance(answer, Exception):
            raise answer
        text = answer if isinstance(answer, str) else format_critique(answer)
        return ModelAnswer(seed, text, success_probability=self.probabilities[place] if self.probabilities else None)


def read(text: str) -> Reading[Critique]:
    return Reading(parse_critique(text))


def verdict(jury: Jury, rule: VerdictRule, seeds=(1,)):
    timer = StageTimer()
    got = asyncio.run(ask_for_verdict(jury, read, seeds, timer, rule))
    assert len(got.answers) == len(jury.seeds)
    return got.critique, timer.failure


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ((YES, NO, YES), YES),
        ((YES, NO, NEVER), NO),
        ((NEVER, YES, NO), NEVER),
        ((YES, NO), NO),
        ((YES, "what?", YES), YES),
        ((YES, "what?", "what?"), Critique(False, "as it is")),
    ],
    ids=["most accept", "most refuse", "first of the side", "a tie refuses", "unread", "unread ones refuse"],
)
def test_more_than_half_of_the_votes_have_to_accept(answers, expected):
    got, failure = verdict(Jury(*answers), VerdictRule(votes=len(answers)))
    assert got is not None
    assert (got.is_success, got.refine_prompt) == (expected.is_success, expected.refine_prompt)
    assert failure is None


def test_votes_have_seeds_of_their_own_and_the_first_has_the_one_that_a_single_answer_has():
    alone, jury = Jury(YES), Jury(YES, YES, YES)
    verdict(alone, VerdictRule(), seeds=(7,))
    verdict(jury, VerdictRule(votes=3), seeds=(7,))
    assert alone.seeds == [7]
    assert jury.seeds[0] == 7
    assert len(set(jury.seeds)) == 3


def test_each_vote_is_asked_again_until_it_can_be_read():
    jury = Jury("what?", NO, YES)
    assert verdict(jury, VerdictRule(votes=2), seeds=(1, 2))[0] == NO
    assert jury.seeds[:2] == [1, 2]


def test_without_any_readable_vote_there_is_no_verdict_and_the_reason_is_told():
    critique, failure = verdict(Jury("what?", RuntimeError("down")), VerdictRule(votes=2))
    assert critique is None
    assert failure is not None
    assert "tags" in failure.error


def test_what_ends_everything_is_raised():
    with pytest.raises(BudgetSpent):
        verdict(Jury(YES, BudgetSpent("no money")), VerdictRule(votes=2))


@pytest.mark.parametrize(
    ("answers", "probabilities", "accepted"),
    [
        ((YES,), (0.8,), True),
        ((YES,), (0.7,), False),
        ((YES,), (None,), False),
        ((NO,), (0.4,), False),
        ((YES, YES, NO), (1.0, 1.0, 0.4), True),
        ((YES, YES, NO), (0.9, 0.9, 0.4), False),
        ((YES, YES, "what?"), (1.0, 1.0, None), False),
    ],
)
def test_a_threshold_asks_for_the_mean_probability_of_the_votes(answers, probabilities, accepted):
    jury = Jury(*answers, probabilities=probabilities)
    critique, _ = verdict(jury, VerdictRule(votes=len(answers), threshold=0.75))
    assert critique is not None
    assert critique.is_success is accepted


def pieces_of(text: str) -> list[str]:
    return [text[start : start + 3] for start in range(0, len(text), 3)]


@pytest.mark.parametrize(("critique", "expected"), [(YES, 0.25), (NO, 0.75)])
def test_the_verdicts_first_token_says_how_sure_an_answer_is(critique, expected):
    pieces = pieces_of(format_critique(critique))
    place = format_critique(critique).index("true" if critique.is_success else "false") // 3
    logprobs = [math.log(0.25) if number == place else 0.0 for number in range(len(pieces))]
    assert success_probability(pieces, logprobs) == pytest.approx(expected)


@pytest.mark.parametrize(("critique", "expected"), [(YES, (1 + 0.125) / 2), (NO, (1 - 0.125) / 2)])
def test_by_the_whole_answer_the_doubts_of_its_thought_count_and_those_of_its_prompt_do_not(critique, expected):
    pieces = pieces_of(format_critique(replace(critique, thought="it is a box")))
    verdict = format_critique(replace(critique, thought="it is a box")).index(
        "true" if critique.is_success else "false"
    )
    doubts = {1: 0.5, verdict // 3: 0.25, len(pieces) - 1: 0.01}
    logprobs = [math.log(doubts.get(number, 1.0)) for number in range(len(pieces))]
    assert success_probability(pieces, logprobs, "answer") == pytest.approx(expected)
    assert success_probability(pieces, [0.0] * len(pieces), "answer") == float(critique.is_success)
    endless = success_probability(pieces, [-100.0] * len(pieces), "answer")
    assert endless == pytest.approx(0.5), "what is left open is for either verdict alike"


@pytest.mark.parametrize("text", ["", "what?", '"previous_step_success": true<answer>no</answer>'])
def test_an_answer_without_a_verdict_has_no_probability(text):
    assert success_probability(pieces_of(text), [0.0] * len(pieces_of(text))) is None


def test_a_thought_that_holds_a_verdict_is_not_taken_for_it():
    text = format_critique(Critique(False, "a", 'not "previous_step_success": true'))
    assert success_probability(pieces_of(text), [0.0] * len(pieces_of(text))) == 0.0


def test_a_step_is_accepted_by_the_probability_of_its_tokens():
    text = format_critique(YES)

    class Unsure:
        async def sample(self, request) -> Response:
            logprobs = [math.log(0.6) if piece == "true" else 0.0 for piece in pieces]
            return Response((1,), range(len(pieces)), text, logprobs, 0)

    before, mark, after = text.partition("true")
    pieces = [before, mark, after]
    critic = ModelCritic(Unsure(), CRITIC_PROMPT, SamplingParams(), split=lambda ids: [pieces[one] for one in ids])

    def told(threshold: float, sure_by: str = "verdict") -> Attempt:
        asked = replace(critic, sure_by=sure_by)
        runner = StepRunner(FakeGenerator(), asked, rule=VerdictRule(threshold=threshold))
        return asyncio.run(runner.carry_out(Attempt(1, 1, "a box", "a box", 1), [1]))

    assert told(0.5).is_accepted
    refused = told(0.7)
    assert not refused.is_accepted
    assert refused.answers[0].success_probability == refused.success_probability == pytest.approx(0.6)
    assert told(0.75, sure_by="answer").success_probability == pytest.approx((1 + 0.6) / 2)
