"""Samplers that lost their weights get them again while a step waits for them, and at no other time."""

import asyncio

import pytest

from rl import lost_weights
from rl.lost_weights import LostWeights
from rollout.roles import PublishError
from tests.support.fakes import FakePolicy, FakeSampler
from tests.support.training import make_recipe, train_on_fakes


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(lost_weights, "EVERY_S", 0.005)


class LosableSampler(FakeSampler):
    """Answers once it has weights; the process of its engine may be lost, and back at once."""

    def __init__(self, lost_at=()):
        super().__init__()
        self.has_weights = asyncio.Event()
        self.lost_at = lost_at
        """Numbers of requests."""

    async def lack_weights(self):
        return not self.has_weights.is_set()

    async def sample(self, request):
        if len(self.requests) in self.lost_at:
            self.probabilities = []
            self.has_weights.clear()
        self.requests.append(request)
        await self.has_weights.wait()
        self.requests.pop()
        return await super().sample(request)


class CountingPolicy(FakePolicy):
    def __init__(self, error=None, **options):
        super().__init__(**options)
        self.error, self.published = error, []

    async def publish(self, samplers):
        if self.error:
            raise self.error
        self.published.append(self.version)
        metrics = await super().publish(samplers)
        samplers.has_weights.set()
        return metrics


def test_a_run_whose_samplers_are_lost_learns_what_it_would_have_learned(tmp_path):
    whole, policy = FakePolicy(lr=0.2), CountingPolicy(lr=0.2)
    asyncio.run(train_on_fakes(make_recipe(tmp_path / "whole", num_steps=4), whole))
    asyncio.run(train_on_fakes(make_recipe(tmp_path / "lost", num_steps=4), policy, LosableSampler(lost_at=[40, 70])))
    assert policy.published == [0, 1, 1, 2, 2, 3, 4]
    assert policy.logits == whole.logits


def mended(sampler, policy, work, told=None):
    async def run():
        return await LostWeights(policy, sampler, (told if told is not None else []).append).mended_during(
            work(sampler)
        )

    return asyncio.run(asyncio.wait_for(run(), 30.0))


async def wait_for_weights(sampler):
    await sampler.has_weights.wait()
    return "drawn"


def test_it_is_told():
    told = []
    assert mended(LosableSampler(), CountingPolicy(), wait_for_weights, told) == "drawn"
    assert told == ["no sampler has weights any more: those of version 0 are sent again"]


def test_work_does_not_wait_for_samplers_that_do_not_say_how_they_are():
    class Silent(LosableSampler):
        async def lack_weights(self):
            await asyncio.sleep(3600)

    async def work(sampler):
        await asyncio.sleep(0.05)
        return "done"

    policy = CountingPolicy()
    assert mended(Silent(), policy, work) == "done"
    assert policy.published == []


def test_weights_that_cannot_be_published_again_end_the_work():
    ended = []

    async def work(sampler):
        try:
            await sampler.has_weights.wait()
        finally:
            ended.append(True)

    with pytest.raises(PublishError, match="every sampler is dead"):
        mended(LosableSampler(), CountingPolicy(PublishError("every sampler is dead")), work)
    assert ended == [True]


def test_an_error_of_the_work_is_its_own():
    async def work(sampler):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        mended(LosableSampler(), CountingPolicy(), work)


def test_samplers_that_cannot_be_lost_are_not_asked():
    async def work(sampler):
        return "drawn"

    assert mended(FakeSampler(), FakePolicy(), work) == "drawn"
