"""An evaluation that takes long says how far it is, and comes to the same."""

import asyncio

from rewards.compose import WeightedSum
from rl.evaluation import Evaluator
from rl.progress import evaluate_aloud
from rollout.single_step import SingleStep
from rollout.types import Phase, SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge, FakeSampler, make_task
from tests.support.training import TERMS, make_recipe

TASKS = [make_task(number) for number in range(4)]


def evaluator_of(folder, first=None):
    """Return an evaluator that waits for `first` before it answers its last task."""
    journey = SingleStep(
        FakeSampler(), FakeGenerator(), FakeJudge(), WeightedSum(TERMS), "<image><image>", SamplingParams()
    )

    async def roll_out(request):
        if first and request.task.id == TASKS[-1].id:
            await first.wait()
        return await journey.roll_out(request)

    return Evaluator(make_recipe(folder).evaluation, TASKS, roll_out, {"semantic_gain": 0.5})


def test_an_evaluation_tells_how_many_tasks_are_done_and_is_the_same(tmp_path):
    told = []

    async def both():
        may_end = asyncio.Event()

        def tell(line):
            told.append(line)
            if line == "  3 of 4 tasks are evaluated":
                may_end.set()

        aloud = await evaluate_aloud(evaluator_of(tmp_path, may_end), 4, Phase.BEFORE, 0, tell, every_s=0.01)
        return aloud, await evaluator_of(tmp_path)(4, Phase.BEFORE)

    aloud, plain = asyncio.run(both())
    assert told[-1] == "  3 of 4 tasks are evaluated"
    assert aloud.rows == plain.rows


def test_a_quick_one_says_nothing(tmp_path):
    told = []
    asyncio.run(evaluate_aloud(evaluator_of(tmp_path), 4, Phase.AFTER, 7, told.append))
    assert told == []
