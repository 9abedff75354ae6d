"""A step's attempts on fakes: what happens in which order, and what a failure at each stage leaves behind."""

import asyncio
from contextlib import aclosing

import pytest

from rollout.roles import BudgetSpent, JudgeError, TeacherError, Unsupported
from rollout.step_runner import StepRunner, Tried, TryStarted
from rollout.text.critique import format_critique
from rollout.types import Attempt, Critique, Failure, ModelAnswer, PlanStep, Scores, Stage
from tests.support.fakes import FakeGenerator, FakeJudge

STEP = PlanStep(4, "Head", "a head", "draw a head")


class Says:
    """A critic that says one answer after the other, and the last one for ever; an exception is raised."""

    def __init__(self, *answers: Critique | str | Exception):
        self.answers = list(answers)
        self.asked: list[tuple[str, str, int, int]] = []

    async def criticise(self, shown, seed, repeat=0):
        self.asked.append((shown.prompt, shown.after, seed, repeat))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        text = format_critique(answer) if isinstance(answer, Critique) else answer
        return ModelAnswer(seed, text, is_truncated=text.endswith("..."))


class Raises(FakeGenerator):
    def __init__(self, *errors: Exception | None):
        super().__init__()
        self.errors = list(errors)

    async def edit(self, request):
        image = await super().edit(request)
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        return image


AGAIN, GOOD = Critique(False, "a bigger head", "small"), Critique(True, "as it is", "fine")


def run(runner: StepRunner, most: int = 3) -> list[TryStarted | Tried]:
    async def events():
        tries = runner.tries(STEP, "before", (), most, lambda *parts: sum(map(hash, map(str, parts))) % 1000)
        return [event async for event in tries]

    return asyncio.run(events())


def attempts(runner: StepRunner, most: int = 3) -> list[Attempt]:
    return [event.attempt for event in run(runner, most) if isinstance(event, Tried)]


@pytest.mark.parametrize(("shown", "expected"), [("instruction", "a head"), ("prompt", "draw a head")])
def test_critic_and_judge_are_shown_the_plans_instruction_or_its_prompt(shown, expected):
    looks, seen = [], []

    class Critic(Says):
        async def criticise(self, shown, seed, repeat=0):
            seen.append((shown.instruction, shown.prompt))
            return await super().criticise(shown, seed, repeat)

    async def score(request):
        looks.append(request.instruction)
        return Scores(5, 5)

    made = attempts(StepRunner(FakeGenerator(), Critic(AGAIN, GOOD), score, shown=shown))
    assert seen == [(expected, "draw a head"), (expected, "a bigger head")], "the plan's prompt, not the latest one"
    assert looks == [expected] * 2
    assert [attempt.instruction for attempt in made] == [expected] * 2


def test_each_try_is_announced_and_uses_the_prompt_of_the_critique_before_it():
    events = run(StepRunner(FakeGenerator(), Says(AGAIN, GOOD)))
    assert [type(event) for event in events] == [TryStarted, Tried, TryStarted, Tried]
    made = [event.attempt for event in events if isinstance(event, Tried)]
    assert [(a.step, a.number, a.prompt, a.before, a.is_accepted) for a in made] == [
        (4, 1, "draw a head", "before", False),
        (4, 2, "a bigger head", "before", True),
    ]
    assert [set(attempt.seconds) for attempt in made] == [{"generate", "critique"}] * 2


def test_seeds_are_asked_for_by_what_they_are_for():
    asked = []
    runner = StepRunner(FakeGenerator(), Says("no", GOOD), num_critiques=2)

    async def all_of_them():
        tries = runner.tries(STEP, None, (), 1, lambda *parts: asked.append(parts) or len(asked))
        return [event async for event in tries]

    (_, tried) = asyncio.run(all_of_them())
    assert asked == [("edit", 4, 1), ("critique", 4, 1, 0), ("critique", 4, 1, 1)]
    assert tried.attempt.seed == 1
    assert [answer.seed for answer in tried.attempt.answers] == [2, 3]


def test_a_failed_generation_costs_a_try_and_the_prompt_stays():
    first, second = attempts(StepRunner(Raises(RuntimeError("out of\nmemory")), Says(GOOD)))
    assert first.failure == Failure(Stage.GENERATE, "RuntimeError: out of memory")
    assert (first.image, first.critique, set(first.seconds)) == (None, None, {"generate"})
    assert (second.prompt, second.failure, second.is_accepted) == ("draw a head", None, True)


def test_what_cannot_be_done_is_final_and_has_its_own_kind():
    (attempt,) = attempts(StepRunner(Raises(Unsupported("unsupported: no mask"))), most=1)
    assert attempt.failure == Failure(Stage.GENERATE, "unsupported: no mask", "unsupported", is_final=True)


def test_an_attempt_that_cannot_be_judged_keeps_its_image():
    async def fails(request):
        raise JudgeError("no JSON")

    (attempt,) = attempts(StepRunner(FakeGenerator(), Says(GOOD), fails), most=1)
    assert (attempt.image, attempt.scores) == ("image of draw a head", None)
    assert attempt.failure == Failure(Stage.JUDGE, "JudgeError: no JSON")
    assert attempt.answers == ()


@pytest.mark.parametrize(
    ("answers", "failure"),
    [
        (("no", "never"), Failure(Stage.CRITIQUE, "tags: expected <think>", "tags", is_final=True)),
        (("well...",), Failure(Stage.CRITIQUE, "truncated: tags: expected <think>", "tags", is_final=True)),
        (("no", TeacherError("busy")), Failure(Stage.CRITIQUE, "TeacherError: busy")),
    ],
)
def test_without_a_readable_critique_the_tries_end_with_the_scores_and_every_answer(answers, failure):
    critic = Says(*answers)
    (attempt,) = attempts(StepRunner(FakeGenerator(), critic, FakeJudge().score, num_critiques=2))
    found = attempt.failure
    assert found is not None
    assert (found.stage, found.kind, found.is_final) == (failure.stage, failure.kind, failure.is_final)
    assert found.error.startswith(failure.error)
    assert attempt.answers[-1].error == found.error
    assert isinstance(attempt.scores, Scores)
    assert [repeat for *_, repeat in critic.asked] == [0, 1]


def test_an_answer_that_can_be_read_makes_good_an_earlier_one():
    (attempt,) = attempts(StepRunner(FakeGenerator(), Says("no", GOOD), num_critiques=3))
    assert (attempt.failure, attempt.critique, len(attempt.answers)) == (None, GOOD, 2)


@pytest.mark.parametrize("is_of_the_critic", [False, True])
def test_a_fatal_error_is_no_status_unless_it_is_said_to_be_one(is_of_the_critic):
    spent = BudgetSpent("33 of 33 calls")

    def runner(**settings) -> StepRunner:
        generator = FakeGenerator() if is_of_the_critic else Raises(spent, spent, spent)
        return StepRunner(generator, Says(spent), **settings)

    with pytest.raises(BudgetSpent):
        run(runner())
    last = attempts(runner(fatal=()))[-1]
    assert last.failure is not None
    assert last.failure.error == "BudgetSpent: 33 of 33 calls"


def test_closing_the_tries_starts_no_further_one_and_cancelling_ends_the_one_in_flight():
    generator, was_cancelled = FakeGenerator(), []

    class Slow(FakeGenerator):
        async def edit(self, request):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                was_cancelled.append(request.prompt)
                raise

    async def leave():
        async with aclosing(StepRunner(generator, Says(AGAIN)).tries(STEP, None, (), 5, hash_of)) as tries:
            async for event in tries:
                if isinstance(event, Tried):
                    break
        running = asyncio.create_task(StepRunner(Slow()).carry_out(Attempt(1, 1, "a", "b", 0)))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    def hash_of(*parts):
        return 0

    asyncio.run(leave())
    assert len(generator.requests) == 1
    assert was_cancelled == ["b"]
