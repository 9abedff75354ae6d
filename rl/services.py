"""Generator, judge and ledger of a recipe in a Ray that somebody else started and trains in.

What `rl.stack` starts for our own training, without policy and samplers: those are the other trainer's.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from actors.generator.generator import Generator
from actors.judge.judge import check_baseline, check_judge, start_judge
from actors.observer import start_observers
from actors.store.ledger import Ledger
from actors.store.ledger_writer import start_ledger
from actors.store.store import Store
from actors.user_functions.runner import RewardRunner
from rl.check_reward import check_reward
from rl.recipe.config import Recipe
from rl.recipe.paths import found_data, placed_generator, read_prompt
from rl.recipe.tasks import read_tasks
from rl.run_dir.provenance import Sources, sources_of, write_provenance
from rl.run_dir.resume import check_changes, is_begun
from rollout.roles import Sampler
from rollout.single_step import Baseline, Regenerate, SingleStep
from rollout.text.critique import FIELDS, NUM_IMAGES
from rollout.text.seeds import seed_of
from rollout.types import SamplingParams, Task

TRAIN, HELDOUT = SPLITS = ("train", "heldout")
"""A recipe's two files of tasks."""


@dataclass(frozen=True)
class Services:
    """How a response becomes a sample, and where that is written. Picklable."""

    recipe: Recipe
    journey: SingleStep
    ledger: Ledger


def tasks_of(recipe: Recipe) -> dict[str, Sequence[Task]]:
    """Return a recipe's tasks by their split. Raises ValueError for a bad record."""
    data = recipe.data
    files = found_data(data.train, "data.train"), found_data(data.heldout, "data.heldout")
    return dict(zip(SPLITS, read_tasks(data, *files), strict=True))


def explain_run(recipe: Recipe, sources: Sources) -> None:
    """Write what a run is explained by. Raises ValueError where its folder has samples of another recipe."""
    if is_begun(Path(recipe.run_dir)):
        check_changes(recipe, sources)
    write_provenance(recipe, sources)


async def start_services(recipe: Recipe, sampler: Sampler, first_step: int) -> Services:
    """Start what a recipe's rollout needs beside its `sampler`, and write what the run is explained by.

    A run whose folder has samples goes on from `first_step`: what is there of later steps is superseded. Raises
    ValueError for a recipe that cannot work or is another one than the folder's.
    """
    settings, run_dir = recipe.rollout, Path(recipe.run_dir).resolve()
    template = read_prompt(settings.prompt, "rollout.prompt", FIELDS, NUM_IMAGES)
    check_baseline(Baseline(settings.baseline), recipe.judge)
    reward = RewardRunner(recipe.reward.terms)
    sources = sources_of(recipe, check_judge(recipe.judge))
    evidence = await asyncio.to_thread(lambda: check_reward(recipe, reward, tasks_of(recipe)[TRAIN]))
    explain_run(recipe, sources)
    run_id, bills = f"{seed_of(run_dir):08x}", run_dir / "ledger"
    generator, judge, observers = await asyncio.gather(
        Generator.start(placed_generator(recipe.generator), recipe.store, f"generator-{run_id}", bills),
        start_judge(recipe.judge, recipe.store, f"judge-{run_id}", bills),
        start_observers(evidence, recipe.store, f"evidence-{run_id}", bills),
    )
    ledger = start_ledger(bills, store=Store(recipe.store))
    await asyncio.to_thread(ledger.begin, first_step)
    journey = SingleStep(
        sampler=sampler,
        generator=generator,
        judge=judge,
        reward=reward,
        template=template,
        params=SamplingParams(settings.temperature, settings.max_tokens),
        regenerate=Regenerate(settings.regenerate),
        baseline=Baseline(settings.baseline),
        observers=observers,
    )
    return Services(recipe, journey, ledger)
