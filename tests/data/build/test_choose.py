"""Which attempts may be learned from, and which of those are chosen: rule by rule, whatever their order."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.build.candidates import Candidate, Sides, attempt_candidate, why_no_plan, why_no_sft, why_no_task
from data.build.card import REASONS
from data.build.choose import select_records
from data.build.rules import CriticSetConfig, PlannerSetConfig, RlSetConfig, SetConfig, SplitConfig
from rollout.collect import Success
from rollout.types import Attempt, Critique, Request, Scores, Trajectory

GOOD, BAD = Scores(9, 9), Scores(3, 9)
IS_SUCCESS = Success()


def attempt(scores=BAD, says=False, **changes) -> Attempt:
    critique = Critique(says, "a red box")
    made = Attempt(1, 1, "a box", "a box please", 1, image="after", scores=scores, critique=critique)
    return replace(made, **changes)


def trajectory(*attempts: Attempt) -> Trajectory:
    return Trajectory(Request("a box in 1 step", id="r"), "plan", None, attempts)


@pytest.mark.parametrize(
    ("made", "rules", "why"),
    [
        (attempt(), {}, ""),
        (attempt(critique=None), {}, "no_critique"),
        (attempt(says=True), {}, "disagreement"),
        (attempt(says=True), {"has_agreement": False}, ""),
        (attempt(GOOD), {}, "disagreement"),
        (attempt(replace(BAD, spread=2)), {"max_spread": 1.0}, "judge_unsure"),
        (attempt(replace(BAD, spread=2)), {"max_spread": 2.0}, ""),
        (attempt(), {"min_gain": 1.0}, "refinement_not_tried"),
        (attempt(GOOD, says=True), {"min_gain": 1.0}, ""),
    ],
)
def test_what_a_lesson_of_the_critic_has_to_meet(made, rules, why):
    assert why_no_sft(trajectory(made), 0, CriticSetConfig(**rules), IS_SUCCESS) == why


def test_a_teachers_prompt_has_to_have_helped_where_that_is_asked_for():
    rules = CriticSetConfig(min_gain=1.0)
    for scores, why in ((GOOD, ""), (BAD, "refinement_no_better")):
        assert why_no_sft(trajectory(attempt(), attempt(scores, number=2)), 0, rules, IS_SUCCESS) == why
    assert why_no_sft(trajectory(attempt(), attempt(GOOD, step=2)), 0, rules, IS_SUCCESS) == "refinement_not_tried"


@pytest.mark.parametrize(
    ("made", "rules", "why"),
    [
        (attempt(), {}, ""),
        (attempt(says=True), {}, "disagreement"),
        (attempt(), {"max_retried": 0.0}, "not_measured"),
        (attempt(retried=(BAD, BAD)), {"max_retried": 0.0}, ""),
        (attempt(retried=(BAD, GOOD)), {"max_retried": 0.0}, "retry_fixes_it"),
        (attempt(retried=(BAD, GOOD)), {"max_retried": 0.5}, ""),
        (attempt(refined=(BAD, BAD)), {"min_refined": 0.1}, "never_solved"),
        (attempt(refined=(BAD, BAD)), {"max_refined": 0.9}, ""),
        (attempt(refined=(GOOD, GOOD)), {"max_refined": 0.9}, "always_solved"),
        (attempt(refined=(BAD, GOOD)), {"min_refined": 0.1, "max_refined": 0.9}, ""),
        (attempt(GOOD, says=True), {"max_retried": 0.0, "min_refined": 0.1}, ""),
    ],
)
def test_what_a_task_of_rl_has_to_meet(made, rules, why):
    assert why_no_task(trajectory(made), 0, RlSetConfig(**rules), IS_SUCCESS) == why


def test_a_plan_is_needed_and_its_completion_where_that_is_asked_for():
    assert why_no_plan(trajectory(), PlannerSetConfig()) == "no_plan"
    assert why_no_plan(trajectory(), PlannerSetConfig(is_complete=True)) == "no_plan"


def candidates(count: int, seed: int = 0) -> list[Candidate]:
    rng = random.Random(seed)
    return [
        Candidate(
            n, 0, rng.choice(("train", "heldout")), rng.random() < 0.3, rng.randrange(count), n % 7, rng.randrange(99)
        )
        for n in range(count)
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 80), st.integers(0, 40), st.sampled_from([None, 0.0, 0.5, 0.75, 1.0]), st.randoms())
def test_every_candidate_is_chosen_or_dropped_for_a_reason_and_the_order_is_no_matter(count, wanted, share, dice):
    made, rules = candidates(count), CriticSetConfig(num_train=wanted, failed_share=share)
    shuffled = list(made)
    dice.shuffle(shuffled)
    dropped, again = Counter(), Counter()
    chosen = select_records(made, "train", rules, dropped, heldout_prompts={3})
    assert select_records(shuffled, "train", rules, again, heldout_prompts={3}) == chosen
    assert again == dropped
    assert set(dropped) <= set(REASONS)
    assert len(chosen) + dropped.total() == sum(candidate.side == "train" for candidate in made)
    assert len({candidate.content for candidate in chosen}) == len(chosen)
    assert all(candidate.prompt != 3 for candidate in chosen)
    assert not wanted or len(chosen) <= wanted
    if share is not None and chosen:
        num_failed = sum(not candidate.is_success for candidate in chosen)
        assert abs(num_failed - share * len(chosen)) <= 1


def test_balance_gives_all_that_are_wanted_where_there_are_enough():
    made = [Candidate(n, 0, "train", n < 30, n, n, n) for n in range(100)]
    chosen = select_records(made, "train", CriticSetConfig(num_train=40, failed_share=0.75), Counter())
    assert (len(chosen), sum(not candidate.is_success for candidate in chosen)) == (40, 30)
    dropped = Counter()
    assert len(select_records(made, "train", CriticSetConfig(failed_share=0.75), dropped)) == 93  # 70 failed are 75 %
    assert dropped == {"balance": 7}
    assert len(select_records(made, "train", SetConfig(num_train=5), Counter())) == 5


@pytest.mark.parametrize(("rule", "reason"), [("per_request", "enough_of_request"), ("per_prompt", "enough_of_prompt")])
def test_no_request_and_no_prompt_has_more_than_its_limit(rule, reason):
    made = [Candidate(n // 4, n, "train", False, n, n // 4, n) for n in range(40)]
    dropped = Counter()
    limits: dict[str, Any] = {rule: 3}
    assert len(select_records(made, "train", CriticSetConfig(**limits), dropped)) == 30
    assert dropped[reason] == 10


def test_sides_go_by_the_request_or_by_the_step_and_rl_may_have_requests_of_its_own():
    request, made = Request("a box in 1 step", id="r"), attempt()
    by_request = Sides(SplitConfig(0.5), seed=0)
    assert by_request.of_attempt(request, made) == by_request.of_request(request)
    by_step = Sides(SplitConfig(0.5), 0, lambda before, instruction: f"{before} {instruction}")
    assert by_step.of_attempt(request, made) == "None a box"
    assert by_request.is_for(request, rl=True)
    assert by_request.is_for(request, rl=False)
    apart = Sides(SplitConfig(0.5, rl_share=0.3), seed=0)
    uses = [apart.is_for(Request("", id=str(n)), rl=True) for n in range(300)]
    assert uses == [not apart.is_for(Request("", id=str(n)), rl=False) for n in range(300)]
    assert 60 < sum(uses) < 120


def test_what_was_tried_is_what_is_told_apart():
    def content(made: Attempt) -> int:
        return attempt_candidate(trajectory(made), 0, 1, Sides(SplitConfig(), 0), IS_SUCCESS).content

    assert content(attempt()) == content(attempt(number=3, seed=9))
    assert len({content(attempt(**change)) for change in ({"image": "x"}, {"prompt": "x"}, {"before": "x"}, {})}) == 4
