"""A run whose judge may end it, on fakes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from actors.store.ledger import Ledger
from rewards.compose import WeightedSum
from rl import checkpoint
from rl.run import train_between_evaluations
from rl.tracking.metrics_file import read_metrics
from rl.tracking.rl_log import Log
from rollout.single_step import SingleStep
from rollout.types import SamplingParams
from tests.support.fakes import FakeGenerator, FakeSampler, make_task
from tests.support.training import TERMS


async def follow(recipe, policy, judge):
    """Do what `rl.run` does between the actors' start and their stop; return the steps that were done before."""
    sampler = FakeSampler()
    journey = SingleStep(sampler, FakeGenerator(), judge, WeightedSum(TERMS), "<image><image>", SamplingParams())
    plan: Any = SimpleNamespace(
        recipe=recipe,
        training=[make_task(i) for i in range(12)],
        heldout=[make_task(i) for i in range(100, 105)],
        benchmark=None,
    )
    ledger = Ledger.open(Path(recipe.run_dir) / "ledger")
    actors: Any = SimpleNamespace(policy=policy, samplers=sampler, workers=journey, journey=journey, ledger=ledger)
    done = await checkpoint.resume(recipe, policy)
    await policy.publish(sampler)
    log = await Log.start(recipe, resumed_after=done, console=Console(quiet=True))
    try:
        await train_between_evaluations(plan, actors, log, done)
    finally:
        await log.close()
    return done


def steps_of(recipe):
    """Return the steps of a run's rows of metrics, but for evaluations beside them."""
    return [row["step"] for row in read_metrics(Path(recipe.run_dir)) if "eval/failed_samples" not in row]


def saved_step(recipe):
    return int((checkpoint.folder_of(recipe) / "latest").read_text().removeprefix("step_"))


def learn_until(run_dir: Path, step: int) -> None:
    """Leave in a run's folder what says that it has learned."""
    folder = run_dir / "checkpoints" / f"step_{step:06d}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"step": step}))
    (folder.parent / "latest").write_text(folder.name)
