"""From a request to its trajectory, on fakes: tries, budgets, difficulty, and everything that can go wrong."""

import asyncio
import json
import os
from dataclasses import replace

import pytest

from actors.store.store import Store
from data.build.records import rl_record
from data.build.trajectory_log import row_of_trajectory, trajectory_of
from rollout.collect import CollectConfig, corrected
from rollout.roles import BudgetSpent, JudgeError, TeacherError, Unsupported
from rollout.text.critique import format_critique
from rollout.text.plan import Plan, PlanStep, format_plan
from rollout.types import Critique, ModelAnswer, Request
from tests.support.fake_teachers import FakeCritic, FakePlanner, GoodJudge, StoreGenerator, is_good, make_collector

STEP = {"step_name": "a", "instruction": "b", "prompt": "c", "auxiliary_text": None}
LONG = json.dumps({"execution_plan": [{"step_number": number, **STEP} for number in range(1, 10_001)]})


@pytest.fixture(autouse=True)
def _without_waiting_for_disks(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def collected(tmp_path, text="a box", **roles):
    return asyncio.run(make_collector(Store(tmp_path), **roles)(Request(text, id=text)))


def test_each_try_uses_the_prompt_that_the_critic_gave_after_the_one_before(tmp_path):
    for number in range(8):
        trajectory = collected(tmp_path, f"box {number}")
        for place, attempt in enumerate(trajectory.attempts):
            assert attempt.number <= 3
            before = trajectory.attempts[place - 1] if attempt.number > 1 else None
            expected = before.critique.refine_prompt if before else f"{attempt.instruction} please"
            assert attempt.prompt == expected
            assert before is None or not before.critique.is_success
        steps = [attempt.step for attempt in trajectory.attempts]
        assert steps == sorted(steps)
        if 2 in steps:
            assert next(a for a in trajectory.attempts if a.step == 2).before == (
                trajectory.attempts[trajectory.accepted[1]].after
            )
        assert trajectory.is_complete == (set(trajectory.accepted) == {1, 2})


def test_records_say_what_the_critic_was_shown_as_instruction(tmp_path):
    rules = CollectConfig(tries=2, shown="prompt")
    for number in range(4):
        trajectory = collected(tmp_path, f"box {number}", rules=rules)
        prompts = {step.number: step.prompt for step in trajectory.plan.steps}
        assert trajectory.attempts
        assert all(attempt.instruction == prompts[attempt.step] for attempt in trajectory.attempts)
        record = rl_record(trajectory, 0, str, is_success=True)
        assert record["origin_prompt"] == f"box {number} 1 please", "not the instruction, which says no please"


def test_a_failed_step_ends_the_trajectory_or_goes_on_from_the_best_try(tmp_path):
    class Never(FakeCritic):
        async def criticise(self, shown, seed, repeat=0):
            return ModelAnswer(seed, format_critique(Critique(False, "again")))

    stopped = collected(tmp_path, critic=Never(), rules=CollectConfig(tries=2))
    assert [attempt.step for attempt in stopped.attempts] == [1, 1]
    went_on = collected(tmp_path, critic=Never(), rules=CollectConfig(tries=4, on_failed_step="best"))
    assert [attempt.step for attempt in went_on.attempts] == [1] * 4 + [2] * 4
    best = max(went_on.attempts[:4], key=lambda attempt: attempt.scores.mean)
    assert went_on.attempts[4].before == best.after
    assert not went_on.is_complete


def test_an_expert_corrects_every_attempt_and_the_critic_decides_what_happens(tmp_path):
    class Yes(FakeCritic):
        async def criticise(self, shown, seed, repeat=0):
            return ModelAnswer(seed, format_critique(Critique(True, f"{shown.prompt} again", "looks fine")))

    trajectory = collected(tmp_path, "box 3", critic=Yes(), expert=FakeCritic(wrong=0.0))
    assert trajectory.accepted == {1: 0, 2: 1}
    for attempt in trajectory.attempts:
        prompt = f"{attempt.prompt} again"
        assert attempt.critique == Critique(True, prompt, "looks fine")
        assert attempt.correction == attempt.lesson == Critique(is_good(attempt.after), prompt, "I look")
    assert any(not attempt.lesson.is_success for attempt in trajectory.attempts)
    assert all(attempt.correction is None for attempt in collected(tmp_path, "box 3").attempts)


def test_a_prompt_that_has_just_failed_is_not_taught_again():
    expert = Critique(False, "a red box", "nothing there")
    assert corrected(Critique(True, "a ruby box"), expert, " a ruby box ") == expert
    right = Critique(True, "a red box", "it is there")
    assert corrected(Critique(True, "a ruby box"), right, "a ruby box") == replace(right, refine_prompt="a ruby box")


def test_an_experts_answer_that_cannot_be_read_ends_the_trajectory_and_the_attempt_is_kept(tmp_path):
    class Mute(FakeCritic):
        async def criticise(self, shown, seed, repeat=0):
            return ModelAnswer(seed, "hm")

    trajectory = collected(tmp_path, "box 3", expert=Mute())
    assert (trajectory.failure.stage, trajectory.failure.kind) == ("critique", "tags")
    assert [attempt.correction for attempt in trajectory.attempts] == [None]


def test_the_first_failed_attempts_are_measured_with_other_seeds_and_other_prompts(tmp_path):
    generator = StoreGenerator(Store(tmp_path))
    trajectory = collected(tmp_path, "box 3", generator=generator)
    failed = [attempt for attempt in trajectory.attempts if not is_good(attempt.after)]
    assert [(len(a.retried), len(a.refined)) for a in failed] == [(2, 2)] + [(0, 0)] * (len(failed) - 1)
    first = failed[0]
    retries = [r for r in generator.calls if r.prompt == first.prompt and r.image == first.before]
    assert len({request.seed for request in retries}) == 3
    assert set(generator.calls.values()) == {1}


def test_an_attempt_is_kept_where_its_measuring_fails(tmp_path):
    class Alone(FakeCritic):
        async def criticise(self, shown, seed, repeat=0):
            if repeat:
                raise TeacherError("no answer in time")
            return await super().criticise(shown, seed)

    trajectory = collected(tmp_path, "box 3", critic=Alone())
    assert trajectory.failure.error == "TeacherError: no answer in time"
    measured = trajectory.attempts[-1]
    assert not is_good(measured.after)
    assert measured.critique is not None
    assert (measured.retried, measured.refined) == ((), ())


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("I would rather not", "tags"),
        ("<answer>{]</answer>", "json"),
        ("", "tags"),
        (f"<answer>{LONG}</answer>", "num_steps"),
        (format_plan(Plan(tuple(PlanStep(n, "a", "b", "c") for n in range(1, 18)))), "num_steps"),
        (format_plan(Plan((PlanStep(1, "a", "b", "two <image> marks"),))), "marks"),
        (format_plan(Plan((PlanStep(1, "<image>", "b", "c"),))), "marks"),
        (format_plan(Plan((PlanStep(1, "a", "b", "c", "see <image>"),))), "marks"),
        (format_plan(Plan((PlanStep(1, "a", "b", "c"),), "<image> is white")), "marks"),
        (format_plan(Plan((PlanStep(1, "a", "b", "c <image>"),))).replace("<image>", "\\u003cimage>"), "marks"),
        (format_plan(Plan((PlanStep(1, "a", None, None, "words"),))), "mode"),
    ],
)
def test_a_hostile_plan_is_a_final_failure_with_its_kind_and_nothing_is_paid(tmp_path, said, kind):
    generator = StoreGenerator(Store(tmp_path))
    trajectory = collected(tmp_path, planner=FakePlanner({"a box": said}), generator=generator)
    assert (trajectory.failure.stage, trajectory.failure.kind) == ("plan", kind)
    assert trajectory.failure.is_final
    assert len(trajectory.failure.error) <= 500
    assert trajectory.plan is None
    assert trajectory.plan_text == said
    assert not generator.calls


def test_a_failed_call_is_a_failure_that_may_pass(tmp_path):
    class Down(FakePlanner):
        async def plan(self, request, seed, repeat=0):
            raise TeacherError("no answer in time")

    assert collected(tmp_path, planner=Down()).failure.error == "TeacherError: no answer in time"
    trajectory = collected(tmp_path, "fail")
    assert (trajectory.failure.stage, trajectory.failure.kind, trajectory.failure.is_final) == (
        "generate",
        "error",
        False,
    )
    assert trajectory.plan is not None


def test_what_the_generator_cannot_do_is_a_final_failure_of_its_own_kind(tmp_path):
    class EditsAlone(StoreGenerator):
        async def edit(self, request):
            raise Unsupported("unsupported: it does no text-to-image")

    failure = collected(tmp_path, generator=EditsAlone(Store(tmp_path))).failure
    assert (failure.stage, failure.kind, failure.is_final) == ("generate", "unsupported", True)
    assert failure.error == "unsupported: it does no text-to-image"


def test_an_unreadable_critique_ends_the_trajectory_and_keeps_the_judged_attempt(tmp_path):
    class Prose(FakeCritic):
        async def criticise(self, shown, seed, repeat=0):
            return ModelAnswer(seed, "looks fine to me")

    trajectory = collected(tmp_path, critic=Prose())
    assert (trajectory.failure.stage, trajectory.failure.kind) == ("critique", "tags")
    (attempt,) = trajectory.attempts
    assert (attempt.answers[-1].text, attempt.critique) == ("looks fine to me", None)
    assert attempt.scores.semantics > 0


@pytest.mark.parametrize("critique", [Critique(False, "as in <image>", "no"), Critique(True, "b", "<image> is good")])
def test_a_critique_that_says_an_image_mark_is_a_final_failure(tmp_path, critique):
    class Marks(FakeCritic):
        async def criticise(self, shown, seed, repeat=0):
            return ModelAnswer(seed, format_critique(critique))

    trajectory = collected(tmp_path, critic=Marks())
    failure, (attempt,) = trajectory.failure, trajectory.attempts
    assert (failure.stage, failure.kind, failure.is_final) == ("critique", "marks", True)
    assert (attempt.answers[-1].text, attempt.critique, attempt.refined) == (format_critique(critique), None, ())


def test_a_spent_budget_ends_the_build_and_not_the_trajectory(tmp_path):
    class Broke(FakePlanner):
        async def plan(self, request, seed, repeat=0):
            raise BudgetSpent("the budget of planner is spent")

    with pytest.raises(BudgetSpent):
        collected(tmp_path, planner=Broke())


def test_a_budget_that_is_spent_while_an_attempt_is_measured_waits_for_what_is_paid_for(tmp_path):
    answered = []

    class Broke(FakeCritic):
        async def criticise(self, shown, seed, repeat=0):
            if repeat == 1:
                raise BudgetSpent("the budget of critic is spent")
            if repeat:
                await asyncio.sleep(0.01)
                answered.append(repeat)
            return await super().criticise(shown, seed, repeat)

    with pytest.raises(BudgetSpent):
        collected(tmp_path, "box 3", critic=Broke(), rules=CollectConfig(num_measured=1, num_refinements=3))
    assert answered == [2, 3]


def test_an_attempt_without_scores_is_not_in_its_trajectory(tmp_path):
    class Down(GoodJudge):
        async def score(self, request):
            raise JudgeError("no JSON")

    trajectory = collected(tmp_path, judge=Down())
    assert (trajectory.attempts, trajectory.failure.stage) == ((), "judge")


def test_a_trajectory_is_the_same_again_and_its_row_is_that_of_what_it_reads_back_as(tmp_path):
    request = Request("first <image> and then?", ("sha256:0",), id="x")
    for trajectory in (
        collected(tmp_path),
        collected(tmp_path, planner=FakePlanner({"a box": "no plan"})),
        asyncio.run(make_collector(Store(tmp_path))(request)),
    ):
        row = json.loads(json.dumps(row_of_trajectory(trajectory)))
        assert json.loads(json.dumps(row_of_trajectory(trajectory_of(row)))) == row
    assert collected(tmp_path) == collected(tmp_path)
    assert collected(tmp_path, seed=1) != collected(tmp_path)


def test_questions_are_complete_without_an_image(tmp_path):
    trajectory = asyncio.run(make_collector(Store(tmp_path))(Request("what is it?", ("sha256:0",), id="x")))
    assert trajectory.is_complete
    assert trajectory.attempts == ()
    assert not replace(trajectory, plan=None).is_complete


def test_rules_say_what_is_wrong_with_them():
    with pytest.raises(ValueError, match=r"collect\.tries is 0"):
        CollectConfig(tries=0)
    with pytest.raises(ValueError, match="expected stop or best"):
        CollectConfig(on_failed_step="go")
