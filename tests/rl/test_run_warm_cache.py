"""Rewards are the same with and without the cache, bit for bit; what is cached is not paid for again."""

import asyncio
from dataclasses import replace

from PIL import Image

from actors.config import JudgeConfig
from actors.judge.judge import start_judge
from actors.store.store import Store
from rewards.compose import WeightedSum
from rollout.single_step import Baseline, SingleStep
from rollout.types import GroupRequest, SamplingParams, Scores
from tests.support.fakes import FakeSampler, make_task
from tests.support.painter import make_generator
from tests.support.training import TERMS

NUM_TASKS, N = 3, 8


def thirds(before, after, instruction):
    red, green, blue = after.getpixel((0, 0))
    return Scores(green / 3, (red + blue) / 70, "by the first pixel")


async def roll_out(store_root):
    """Return the samples of three groups and what the services counted, by services that start anew."""
    store = Store(store_root)
    judge = await start_judge(JudgeConfig(scorer=f"{__name__}.thirds", num_replicas=0), store_root)
    journey = SingleStep(
        FakeSampler(garbage=0.1),
        make_generator(store_root),
        judge,
        WeightedSum(TERMS),
        "<image><image>",
        SamplingParams(),
        baseline=Baseline.JUDGE,
    )
    samples = []
    for number in range(NUM_TASKS):
        rejected = store.put_image(Image.new("RGB", (8, 8), (50, number, 9)))
        task = replace(make_task(number), after=rejected)
        samples += (await journey.roll_out(GroupRequest(task, N, 5, (1, 2), step=1))).samples
    return samples, await journey.stats()


def earned(samples):
    return [(sample.task_id, sample.index, sample.reward, sample.evidence.scores) for sample in samples]


def test_rewards_are_the_same_from_a_cold_and_a_warm_store(tmp_path):
    cold, paid = asyncio.run(roll_out(tmp_path / "one"))
    warm, saved = asyncio.run(roll_out(tmp_path / "one"))
    other, paid_elsewhere = asyncio.run(roll_out(tmp_path / "other"))
    assert earned(warm) == earned(cold) == earned(other)
    assert len({sample.reward.total for sample in cold}) > 4
    for service in ("generator", "judge"):
        assert paid[f"{service}/attempts"] == paid_elsewhere[f"{service}/attempts"] > 0
        assert f"{service}/attempts" not in saved
        assert saved[f"{service}/calls"] == paid[f"{service}/calls"]
