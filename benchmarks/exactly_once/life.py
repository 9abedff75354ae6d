"""One life of a run, from the command to its end or to a SIGKILL: what `interleave train --resume auto` does.

The driver's code is the product's: lock, resume, provenance, stream, kept groups, paid calls, store, ledger, log,
TensorBoard, checkpoints, evaluations, report. Models and Ray are stand-ins.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401  (these are imported once, before any life begins)
import pyarrow.parquet  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
from PIL import Image
from rich.console import Console

from actors.config import LossConfig, PolicyConfig
from actors.store.append_log import AppendLog, GroupCommit
from actors.store.ledger import SAMPLES, Ledger, next_attempt
from actors.store.store import Store
from actors.user_functions.runner import RewardRunner
from benchmarks.exactly_once import roles
from benchmarks.exactly_once.trap import Aim, Trap
from rewards.compose import TermConfig
from rl.advantages import check_estimator
from rl.prepare import PreparedRun
from rl.recipe.config import AlgorithmConfig, DataConfig, EvaluationConfig, Recipe, RewardConfig, RolloutConfig
from rl.recipe.jobs import TrackingConfig
from rl.run import run
from rl.run_dir.lock import locked
from rl.run_dir.provenance import sources_of
from rl.run_dir.resume import AUTO, check_run_dir, is_finished, is_resumed
from rl.stack import Stack
from rollout.single_step import SingleStep
from rollout.types import SamplingParams, Task
from tests.support.fakes import make_task

check_estimator("grpo")  # imports verl

NUM_STEPS, GROUPS, N = 4, 2, 2
_NUM_TASKS, _NUM_HELDOUT = 6, 2
_TERMS = [
    TermConfig("rewards.format.is_parsed", 0.2, "format"),
    TermConfig("rewards.stepwise.semantic_gain", 0.5),
    TermConfig("rewards.stepwise.quality_gain", 0.3),
]


def recipe_of(folder: Path, k: int) -> Recipe:
    """Return the recipe of a run whose files go into a folder."""
    return Recipe(
        name="exactly-once",
        run_dir=str(folder / "run"),
        store=str(folder / "store"),
        num_steps=NUM_STEPS,
        save_every=2,
        max_staleness=k,
        policy=PolicyConfig(model="stand-in"),
        data=DataConfig(train="stand-in", heldout="stand-in"),
        rollout=RolloutConfig(groups_per_step=GROUPS, n=N),
        reward=RewardConfig(_TERMS),
        algorithm=AlgorithmConfig(loss=LossConfig(rollout_correction="token" if k else None)),
        tracking=TrackingConfig(backends=["tensorboard", "benchmarks.exactly_once.roles:Chart"]),
        evaluation=EvaluationConfig(num_tasks=_NUM_HELDOUT, num_tasks_during=1, num_seeds=1, every=2),
    )


def tasks_in(folder: Path) -> list[Task]:
    """Return all tasks, trained on and held out; their images are written where they are not there yet."""
    tasks = []
    for number in range(_NUM_TASKS + _NUM_HELDOUT):
        path = folder / f"after-{number:02d}.png"
        if not path.exists():
            Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
        tasks.append(replace(make_task(number), after=str(path)))
    return tasks


def live(folder: Path, k: int, socket: str, aim: Aim | None) -> None:
    """Start the run, or go on with it; end the process with an error that it prints. What it says is in `said`."""
    with (folder / "said").open("ab") as said:
        for descriptor in (1, 2):
            os.dup2(said.fileno(), descriptor)
    roles.trap = Trap(aim)
    roles.trap.watch_files()
    recipe = recipe_of(folder, k)
    with locked(Path(recipe.run_dir)):
        if not is_finished(recipe):
            asyncio.run(run(_prepared(recipe, folder), console=Console(width=120), start=_stand_ins(socket)))
    (folder / "instants.json").write_text(json.dumps(roles.trap.counts))


def _prepared(recipe: Recipe, folder: Path) -> PreparedRun:
    resumed = is_resumed(AUTO, Path(recipe.run_dir))
    sources = sources_of(recipe, {"judge": "stand-in"})
    check_run_dir(recipe, resumed, sources)
    tasks = tasks_in(folder)
    return PreparedRun(
        recipe,
        tasks[:_NUM_TASKS],
        tasks[_NUM_TASKS:],
        template="<image><image>",
        model="stand-in",
        generator=recipe.generator,
        reward=RewardRunner(recipe.reward.terms),
        evidence={},
        idle_evidence="",
        sources=sources,
        is_resumed=resumed,
    )


def _stand_ins(socket: str) -> Any:
    @asynccontextmanager
    async def start(plan: PreparedRun) -> AsyncIterator[Stack]:
        recipe = plan.recipe
        root, folder = str(Path(recipe.store).resolve()), Path(recipe.run_dir) / "ledger"
        policy, samplers = roles.Learner(), roles.Sampler()
        generator, judge = roles.generator(socket, root, folder), roles.judge(socket, root, folder)
        journey = SingleStep(samplers, generator, judge, plan.reward, plan.template, SamplingParams())
        ledger = Ledger(folder, GroupCommit(AppendLog(folder, SAMPLES)), Store(root), next_attempt(folder))
        actors: dict[str, Any] = {"policy": policy, "samplers": samplers, "workers": roles.Workers(journey, ledger)}
        yield Stand(journey=journey, ledger=ledger, **actors)

    return start


class Stand(Stack):
    """The stand-ins of a run's actors."""

    async def stats(self) -> dict[str, float]:
        return await self.journey.stats()
