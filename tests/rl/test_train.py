"""The real `train()` on fakes: what is learned, skipped, saved and resumed."""

import ast
import asyncio
import inspect
import textwrap
import weakref
from typing import Any

import pytest

from actors.config import LossConfig
from actors.store.ledger import read_ledger
from rl import checkpoint
from rl.advantages import check_estimator
from rl.recipe.config import AlgorithmConfig, EvaluationConfig, RolloutConfig
from rl.stream import RolloutsFailed
from rl.tracking.metrics_file import read_metrics
from rl.train import train
from tests.support.fakes import GOOD, PHRASINGS, FakeGenerator, FakePolicy, FakeSampler
from tests.support.training import make_recipe, train_on_fakes

OFF_POLICY = AlgorithmConfig(loss=LossConfig(rollout_correction="token"))


@pytest.mark.slow
@pytest.mark.parametrize("max_staleness", [0, 2])
def test_a_planted_preference_for_one_phrasing_is_learned(tmp_path, max_staleness):
    """Slow: whole runs."""
    policy = FakePolicy()
    asyncio.run(train_on_fakes(make_recipe(tmp_path, max_staleness=max_staleness, algorithm=OFF_POLICY), policy))
    assert policy.probabilities()[PHRASINGS.index(GOOD)] > 0.9
    rewards = [row["reward/mean"] for row in read_metrics(tmp_path)]
    assert len(rewards) == 20
    assert rewards[-1] > rewards[0]


def test_staleness_is_bounded_and_reached(tmp_path):
    class SlowPolicy(FakePolicy):
        async def update(self, batch):
            await asyncio.sleep(0.01)
            return await super().update(batch)

    asyncio.run(
        train_on_fakes(make_recipe(tmp_path, max_staleness=2, num_steps=12, algorithm=OFF_POLICY), SlowPolicy(lr=0.01))
    )
    ages = {row["step"] - 1 - row["policy_version"] for row in read_ledger(tmp_path / "ledger")}
    assert max(ages) == 2


def test_on_policy_samples_come_from_the_newest_version(tmp_path):
    asyncio.run(train_on_fakes(make_recipe(tmp_path, num_steps=5), FakePolicy(lr=0.01)))
    assert all(row["policy_version"] == row["step"] - 1 for row in read_ledger(tmp_path / "ledger"))


def test_what_was_learned_is_gone_before_the_next_step_is_sampled(tmp_path):
    """Memory holds the samples of one step, not of two."""

    class Noting(FakeSampler):
        def __init__(self):
            super().__init__()
            self.drawn = []

        async def sample(self, request):
            before = len(self.requests) // 32 * 32
            async with asyncio.timeout(10):
                while any(array() is not None for array in self.drawn[:before]):
                    await asyncio.sleep(0.001)  # a thread that has answered may not have let go yet
            response = await super().sample(request)
            self.drawn.append(weakref.ref(response.token_ids))
            return response

    class Forgetful(FakePolicy):
        async def update(self, batch):
            self.version += 1
            return {}

    check_estimator("grpo")  # verl, while it is imported, leaves frames behind that hold what they were called with
    rollout = RolloutConfig(groups_per_step=4, n=8, max_refills=0)
    recipe, sampler = make_recipe(tmp_path, num_steps=4, rollout=rollout), Noting()
    asyncio.run(train_on_fakes(recipe, Forgetful(), sampler))
    assert len(sampler.drawn) == 4 * 32


def test_nothing_is_learned_where_rewards_do_not_differ(tmp_path):
    policy = FakePolicy()
    asyncio.run(train_on_fakes(make_recipe(tmp_path, num_steps=3), policy, FakeSampler(garbage=1.0)))
    assert policy.version == 0


def test_failed_samples_are_in_no_batch(tmp_path):
    policy = FakePolicy(lr=0.0)
    asyncio.run(train_on_fakes(make_recipe(tmp_path, num_steps=4), policy, generator=FakeGenerator(failing=0.25)))
    rows = list(read_ledger(tmp_path / "ledger"))
    num_failed = sum(row["failure"] is not None for row in rows)
    assert 0 < num_failed < len(rows) / 2
    assert all((row["reward"] is None) == (row["failure"] is not None) for row in rows)
    assert sum(len(batch.rows) for batch in policy.batches) <= len(rows) - num_failed


def test_too_many_failures_stop_the_run_with_stage_and_example(tmp_path):
    with pytest.raises(RolloutsFailed, match=r"32 at generate, for example: GeneratorError: out of memory"):
        asyncio.run(
            train_on_fakes(
                make_recipe(tmp_path, rollout=RolloutConfig(groups_per_step=4, n=8, max_refills=0)),
                FakePolicy(),
                generator=FakeGenerator(failing=1.0),
            )
        )


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path):
    whole, second = FakePolicy(lr=0.2), FakePolicy(lr=0.2)
    asyncio.run(train_on_fakes(make_recipe(tmp_path / "whole", num_steps=8), whole))

    class Killed(FakePolicy):
        async def update(self, batch):
            if self.version == 6:
                while not (checkpoint.folder_of(recipe) / "latest").exists():  # it is written beside the steps
                    await asyncio.sleep(0.01)
                raise KeyboardInterrupt
            return await super().update(batch)

    recipe = make_recipe(tmp_path / "cut", num_steps=8, save_every=4)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(train_on_fakes(recipe, Killed(lr=0.2)))
    done = asyncio.run(checkpoint.resume(recipe, second))
    assert done == 4
    asyncio.run(train_on_fakes(recipe, second, first_step=done + 1))
    assert second.logits == whole.logits
    assert second.version == 8
    assert [row["step"] for row in read_metrics(tmp_path / "cut")] == list(range(1, 9))
    counts = [sum(row["step"] == step for row in read_ledger(tmp_path / "cut" / "ledger")) for step in range(1, 9)]
    assert counts == [32] * 8


def test_evaluations_happen_when_due(tmp_path):
    recipe = make_recipe(tmp_path, num_steps=6, evaluation=EvaluationConfig(num_tasks=0, every=2))
    asyncio.run(train_on_fakes(recipe, FakePolicy()))
    assert [row["step"] for row in read_metrics(tmp_path) if "eval/reward" in row] == [2, 4]


def test_a_failure_of_the_rollouts_reaches_the_loop(tmp_path):
    class Broken(FakeSampler):
        async def sample(self, request):
            raise RuntimeError("engine died")

    with pytest.raises(RolloutsFailed, match="engine died"):
        asyncio.run(train_on_fakes(make_recipe(tmp_path), FakePolicy(), Broken()))


def test_the_loop_stays_on_one_screen():
    function: Any = ast.parse(textwrap.dedent(inspect.getsource(train))).body[0]
    assert function.end_lineno <= 40
