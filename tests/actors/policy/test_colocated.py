"""Turns of a policy and of samplers on the same devices, around the real `train()`."""

import asyncio
import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from actors.config import LossConfig
from actors.store.ledger import read_ledger
from rl.recipe.config import AlgorithmConfig
from rl.tracking.metrics_file import read_metrics
from tests.support.fakes import FakePolicy, FakeSampler
from tests.support.source_tree import REPO
from tests.support.training import make_recipe, train_on_fakes

OFF_POLICY = AlgorithmConfig(loss=LossConfig(rollout_correction="token"))


class SleepingSampler(FakeSampler):
    """Requests, which take 10 ms to get to it, wait while it sleeps; those after `num_prompt` come then at first."""

    def __init__(self, num_prompt: int | None = None, **settings):
        super().__init__(**settings)
        self.num_prompt, self.num_asked, self.has_slept = num_prompt, 0, asyncio.Event()
        self.events: list[str] = []
        self.is_awake = asyncio.Event()
        self.is_awake.set()
        self.num_waited = 0

    async def sleep(self):
        self.events.append("sleep")
        self.is_awake.clear()
        self.has_slept.set()

    async def sample(self, request):
        self.num_asked += 1
        if self.num_prompt is not None and self.num_asked > self.num_prompt:
            await self.has_slept.wait()
        else:
            await asyncio.sleep(0.01)
        self.num_waited += not self.is_awake.is_set()
        await self.is_awake.wait()
        return await super().sample(request)


class WakingPolicy(FakePolicy):
    """As the actors' policy: its publish wakes the samplers."""

    sampler: SleepingSampler

    async def update(self, batch):
        self.sampler.events.append("update")
        assert not self.sampler.is_awake.is_set()
        await asyncio.sleep(0.05)
        return await super().update(batch)

    async def publish(self, samplers):
        samplers.events.append("publish")
        samplers.is_awake.set()
        return await super().publish(samplers)


@pytest.fixture
def colocated(monkeypatch):
    """Return `ColocatedPolicy` on top of a fake: the real one imports verl, for seconds."""
    monkeypatch.setitem(sys.modules, "actors.policy.policy", SimpleNamespace(Policy=WakingPolicy))
    spec = importlib.util.spec_from_file_location("colocated_on_fakes", REPO / "actors/policy/colocated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ColocatedPolicy


def train(colocated, folder, *, garbage: float = 0.0, num_prompt: int | None = None, **changes):
    async def run():
        policy, sampler = colocated(lr=0.1), SleepingSampler(num_prompt, garbage=garbage)
        policy.sampler = sampler
        policy.take_turns_with(sampler)
        await train_on_fakes(make_recipe(folder, **changes), policy, sampler)
        return policy, sampler

    return asyncio.run(run())


def test_samplers_sleep_while_the_policy_is_updated_and_are_awake_after_it(colocated, tmp_path):
    _, sampler = train(colocated, tmp_path, num_steps=3)
    assert sampler.events == ["publish"] + ["sleep", "update", "publish"] * 3
    assert sampler.num_waited == 0, "on-policy nobody draws meanwhile"


def test_rollouts_that_run_ahead_wait_for_the_update(colocated, tmp_path):
    settings: dict[str, Any] = {"num_steps": 6, "max_staleness": 1, "algorithm": OFF_POLICY}
    _, sampler = train(colocated, tmp_path, num_prompt=4 * 8, **settings)  # the second step's come in the first update
    assert sampler.num_waited > 0
    assert len(list(read_ledger(tmp_path / "ledger"))) == 6 * 4 * 8


def test_results_are_those_of_separate_devices(colocated, tmp_path):
    policy, _ = train(colocated, tmp_path / "turns", num_steps=4)
    separate = FakePolicy(lr=0.1)
    asyncio.run(train_on_fakes(make_recipe(tmp_path / "separate", num_steps=4), separate))
    assert policy.logits == separate.logits
    rewards = [[row["reward/mean"] for row in read_metrics(tmp_path / name)] for name in ("turns", "separate")]
    assert rewards[0] == rewards[1]


def test_where_nothing_is_learned_nobody_sleeps(colocated, tmp_path):
    policy, sampler = train(colocated, tmp_path, num_steps=2, garbage=1.0)
    assert (policy.version, sampler.events) == (0, ["publish"])
