"""The simulation's rules are the driver's: the real `train`, stream and rollouts on a clock that jumps.

Slow: whole runs of the driver beside their simulations.
"""

import asyncio
import random
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest

from actors.config import LossConfig
from rewards.compose import WeightedSum
from rl.plan.rules import Rules
from rl.plan.simulation import simulate
from rl.plan.stage_times import DrawnTimes, Spread, Work
from rl.recipe.config import AlgorithmConfig, RolloutConfig
from rl.stream import RolloutStream
from rl.train import train
from rollout.single_step import SingleStep
from rollout.text.critique import format_critique
from rollout.text.seeds import seed_of
from rollout.types import Critique, Response, SamplingParams, Scores
from tests.support.fakes import FakeGenerator, FakeJudge, FakePolicy, make_task
from tests.support.training import TERMS, make_recipe, no_evaluations
from tests.support.virtual_clock import run_virtually

pytestmark = pytest.mark.slow

GROUPS, N, NUM_STEPS = 6, 4, 8
TIMES = DrawnTimes(
    {
        Work.SAMPLE: Spread(18.0, 0.45),
        Work.GENERATE: Spread(2.0, 0.1),
        Work.JUDGE: Spread(4.0, 0.8),
        Work.UPDATE: Spread(20.0, 0.2),
        Work.PUBLISH: Spread(3.0, 0.2),
    },
    seed=5,
)
PLACES = {
    seed_of(seed_of(0, "sample", step), make_task(task).id, sample): (step, task, sample)
    for step in range(1, NUM_STEPS + 1)
    for task in range(GROUPS)
    for sample in range(N)
}


class Sampler:
    def __init__(self, rules):
        self.places = asyncio.Semaphore(rules.sampler_places)

    async def sample(self, request):
        place = PLACES[request.seed]
        async with self.places:
            await asyncio.sleep(TIMES.seconds(Work.SAMPLE, *place))
        text = format_critique(Critique(False, "{} {} {}".format(*place), "wrong"))
        return Response((1,), (2,), text, (0.0,), 0)


class Generator(FakeGenerator):
    def __init__(self, rules):
        super().__init__()
        self.places = asyncio.Semaphore(rules.generator_places)

    async def edit(self, request):
        async with self.places:
            await asyncio.sleep(TIMES.seconds(Work.GENERATE, *map(int, request.prompt.split())))
        return request.prompt


class Judge(FakeJudge):
    def __init__(self, rules):
        super().__init__()
        self.places, self.calls = asyncio.Semaphore(rules.judge_places), rules.judge_calls

    async def score(self, request):
        place = tuple(map(int, request.after.split()))
        await asyncio.gather(*(self.call(*place, call) for call in range(self.calls)))
        return Scores(random.Random(repr(place)).randint(0, 10), 5.0)

    async def call(self, *place):
        async with self.places:
            await asyncio.sleep(TIMES.seconds(Work.JUDGE, *place))


class Policy(FakePolicy):
    def __init__(self):
        super().__init__()
        self.ends = []

    async def update(self, batch):
        self.version += 1
        await asyncio.sleep(TIMES.seconds(Work.UPDATE, self.version))
        return {}

    async def publish(self, samplers):
        await asyncio.sleep(TIMES.seconds(Work.PUBLISH, self.version))
        self.ends.append(asyncio.get_running_loop().time())
        return {}


class Quiet:
    """A log that writes nothing."""

    collapse = None

    @asynccontextmanager
    async def step(self, step):
        yield

    async def groups(self, groups, *rest):
        assert all(sample.is_valid for group in groups for sample in group.samples)

    def metrics(self, metrics):
        pass

    def update(self, metrics, batch):
        pass

    def warn(self, text):
        raise AssertionError(text)

    def timed(self, name):
        return nullcontext()


async def train_by(rules, policy, folder):
    recipe = make_recipe(
        folder,
        num_steps=NUM_STEPS,
        max_staleness=rules.max_staleness,
        rollout=RolloutConfig(groups_per_step=GROUPS, n=N),
        algorithm=AlgorithmConfig(loss=LossConfig(rollout_correction="token")),
    )
    sampler = Sampler(rules)
    journey = SingleStep(
        sampler, Generator(rules), Judge(rules), WeightedSum(TERMS), "<image><image>", SamplingParams()
    )
    workers = asyncio.Semaphore(rules.groups_in_flight)

    async def roll_out(request):
        async with workers:
            return await journey.roll_out(request)

    stream = RolloutStream(recipe, [make_task(number) for number in range(GROUPS)], roll_out)
    log: Any = Quiet()
    await train(recipe, policy, sampler, stream, no_evaluations(recipe, journey, log), log)


ROOMY = Rules(GROUPS, N, sampler_places=200, generator_places=4, judge_places=64, judge_calls=2)


@pytest.mark.parametrize(
    ("max_staleness", "narrow"),
    [
        (0, {}),
        (1, {}),
        (2, {}),
        (1, {"sampler_places": 10}),
        (1, {"generator_places": 1}),
        (1, {"judge_places": 5}),
        (1, {"groups_in_flight": 4}),
        (2, {"groups_in_flight": 9, "sampler_places": 15, "generator_places": 2, "judge_places": 8, "judge_calls": 3}),
    ],
)
def test_steps_of_the_real_driver_end_when_the_simulation_says(tmp_path, max_staleness, narrow):
    rules, policy = replace(ROOMY, max_staleness=max_staleness, **narrow), Policy()
    run_virtually(train_by(rules, policy, tmp_path))
    assert policy.ends == pytest.approx(simulate(rules, TIMES, NUM_STEPS).ends, abs=1e-6)
