"""A training run on fakes: its recipe, its reward, and the real `train()`."""

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from actors.store.learned import LearnedLog
from actors.store.ledger import Ledger, next_attempt
from rewards.compose import TermConfig, WeightedSum
from rl.evaluation import Evaluator
from rl.recipe.config import EvaluationConfig, Recipe, RewardConfig, RolloutConfig
from rl.recipe.jobs import TrackingConfig
from rl.side_evaluation import SideEvaluations
from rl.stream import RolloutStream
from rl.tracking.rl_log import Log
from rl.train import train
from rollout.single_step import SingleStep
from rollout.types import SamplingParams
from tests.support.fakes import FakeGenerator, FakeJudge, FakeSampler, make_task

TERMS = [TermConfig("rewards.format.is_parsed", 0.5, "format"), TermConfig("rewards.stepwise.semantic_gain", 0.5)]


def make_recipe(folder, **changes) -> Recipe:
    recipe = Recipe(
        name="fake",
        run_dir=str(folder),
        num_steps=20,
        rollout=RolloutConfig(groups_per_step=4, n=8),
        reward=RewardConfig(TERMS),
        tracking=TrackingConfig(backends=[]),
        evaluation=EvaluationConfig(num_tasks=0, num_seeds=2),
    )
    return replace(recipe, **changes)


def recorded(roll_out, ledger):
    """Commit each group before it is handed over, as the rollout workers do."""

    async def and_record(request):
        group = await roll_out(request)
        await ledger.record(request, group)
        return group

    return and_record


def no_evaluations(recipe, journey, log) -> SideEvaluations:
    """Return what `train()` is given where no evaluation is due."""
    return SideEvaluations(Evaluator(recipe.evaluation, [], journey.roll_out, {}), journey.draw, log)


async def train_on_fakes(recipe, policy, sampler=None, generator=None, first_step=1):
    """Train by the real loop; only the policy is the caller's, and what else is given."""
    sampler = sampler or FakeSampler()
    step = SingleStep(
        sampler, generator or FakeGenerator(), FakeJudge(), WeightedSum(TERMS), "<image><image>", SamplingParams()
    )
    await policy.publish(sampler)
    roll_out = recorded(step.roll_out, Ledger.open(Path(recipe.run_dir) / "ledger", first_step=first_step))
    stream = RolloutStream(recipe, [make_task(i) for i in range(12)], roll_out, first_step=first_step)
    evaluator = Evaluator(recipe.evaluation, [make_task(i) for i in range(100, 105)], roll_out, {"semantic_gain": 0.5})
    learned = LearnedLog(Path(recipe.run_dir) / "ledger", attempt=next_attempt(Path(recipe.run_dir) / "ledger") - 1)
    log = await Log.start(
        recipe, resumed_after=first_step - 1, console=Console(quiet=True), stats=step.stats, learned=learned
    )
    try:
        await train(recipe, policy, sampler, stream, SideEvaluations(evaluator, step.draw, log), log)
    finally:
        await log.close()
