"""The driver's loop at full size, on fakes: no callback computes for long while a run trains and evaluates."""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from actors.cluster import ray_cluster
from actors.config import LossConfig, RolloutWorkersConfig
from actors.rollout_worker import RolloutWorkers
from actors.store.learned import LearnedLog
from actors.store.ledger import Ledger
from rewards.compose import WeightedSum
from rl import evaluation
from rl.advantages import check_estimator
from rl.recipe.config import AlgorithmConfig, EvaluationConfig, RolloutConfig
from rl.recipe.jobs import TrackingConfig
from rl.run import train_between_evaluations
from rl.tracking.loop_watch import LIMIT_S, LoopWatch, watch_loop
from rl.tracking.metrics_file import read_metrics
from rl.tracking.rl_log import Log
from rollout.single_step import SingleStep
from rollout.types import Response, SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge, FakePolicy, FakeSampler, make_task
from tests.support.training import TERMS, make_recipe

NUM_GROUPS, NUM_SAMPLES, NUM_TRAINING, NUM_HELDOUT = 64, 8, 13_000, 448
NUM_PROMPT_TOKENS, NUM_TOKENS = 1024, 512


class WordySampler(FakeSampler):
    """Answers as long as a real critic's."""

    async def sample(self, request):
        response = await super().sample(request)
        tokens = [*response.token_ids, *[99] * (NUM_TOKENS - len(response.token_ids))]
        return Response([1] * NUM_PROMPT_TOKENS, tokens, response.text, [-0.5] * NUM_TOKENS, response.policy_version)


def make_journey() -> SingleStep:
    sampler, generator, judge = WordySampler(), FakeGenerator(failing=0.02), FakeJudge()
    fakes: tuple[Any, ...] = sampler, generator, judge
    for fake in fakes:
        fake.requests = deque(maxlen=1)  # a real one forgets what it has answered
    return SingleStep(sampler, generator, judge, WeightedSum(TERMS), "<image><image>", SamplingParams())


def quickest(watches: Iterable[LoopWatch]) -> LoopWatch:
    """Return the first watch within the limit, else the last: what computes for long does so each time."""
    for watch in watches:
        if watch.max_ms < LIMIT_S * 1e3:
            break
    return watch


async def follow(recipe, policy, workers) -> LoopWatch:
    """Do what `rl.run` does between the actors' start and their stop."""
    plan: Any = SimpleNamespace(
        recipe=recipe,
        training=[make_task(i, is_success=i % 4 == 0) for i in range(NUM_TRAINING)],
        heldout=[make_task(i, is_success=i % 4 == 0) for i in range(NUM_HELDOUT)],
        sources={},
        benchmark=None,
    )
    ledger = Ledger.open(Path(recipe.run_dir) / "ledger")
    sampler, journey = FakeSampler(), make_journey()
    actors: Any = SimpleNamespace(policy=policy, samplers=sampler, workers=workers, journey=journey, ledger=ledger)
    async with watch_loop() as watch:
        learned = LearnedLog(ledger.folder, ledger.attempt)
        log = await Log.start(recipe, console=Console(quiet=True), stats=workers.stats, watch=watch, learned=learned)
        await train_between_evaluations(plan, actors, log, 0)
        await log.close()
    return watch


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    check_estimator("grpo")  # as a run's preparation does: verl takes seconds to import
    monkeypatch.setattr(evaluation, "_NUM_RESAMPLES", 10_000)  # far too much for the loop, as in a long run
    return make_recipe(
        tmp_path,
        num_steps=2,
        max_staleness=1,
        algorithm=AlgorithmConfig(loss=LossConfig(rollout_correction="token")),
        rollout=RolloutConfig(groups_per_step=NUM_GROUPS, n=NUM_SAMPLES),
        evaluation=EvaluationConfig(num_tasks=0, num_tasks_during=64, every=1, num_seeds=2),
    )


@pytest.mark.slow
def test_no_callback_computes_for_long(recipe, tmp_path):
    """Slow: three runs, of which the quickest counts."""
    folders = [tmp_path / str(number) for number in range(3)]
    recipes = [replace(recipe, run_dir=str(folder)) for folder in folders]
    watch = quickest(asyncio.run(follow(recipe, FakePolicy(), make_journey())) for recipe in recipes)
    assert watch.max_ms < LIMIT_S * 1e3, "\n".join(map(str, watch.slowest()))
    rows = read_metrics([folder for folder in folders if folder.exists()][-1])
    steps = [row for row in rows if "eval/failed_samples" not in row]
    assert [row["step"] for row in steps] == [0, 1, 2, 2]
    assert 0 < max(row["driver/max_callback_ms"] for row in steps) <= watch.max_ms


@pytest.mark.slow
def test_no_callback_computes_for_long_with_real_workers(recipe, tmp_path):
    """Slow: groups come from actors, through Ray's serialisation."""
    recipe = replace(recipe, tracking=TrackingConfig(backends=["wandb", "tensorboard"]))

    async def follow_workers(run_dir: str) -> LoopWatch:
        async with ray_cluster("", 4):
            workers = await RolloutWorkers.start(RolloutWorkersConfig(num_workers=2), make_journey())
            return await follow(replace(recipe, run_dir=run_dir), FakePolicy(), workers)

    watch = quickest(asyncio.run(follow_workers(str(tmp_path / str(number)))) for number in range(3))
    print(watch, *watch.slowest(), sep="\n")
    assert watch.max_ms < LIMIT_S * 1e3, "\n".join(map(str, watch.slowest()))
