"""One run from recipe to report: start the actors, evaluate, train, evaluate again, export."""

from __future__ import annotations

import asyncio
import json
import platform
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.cluster import ray_cluster
from actors.generator import Generator
from actors.judge import Judge
from actors.policy import Policy
from actors.rollout_worker import RolloutWorkers
from actors.sampler import Samplers
from actors.store import Store
from data.records import load_tasks
from rewards.compose import WeightedSum
from rl import checkpoint
from rl.config import REPO, Recipe, resolve_path, to_yaml
from rl.evaluation import Change, Evaluation, Evaluator, compare
from rl.report import table_rows, write_report
from rl.stream import RolloutStream
from rl.tracking import Log
from rl.train import train
from rollout.single_step import Regenerate, SingleStep
from rollout.types import SamplingParams, Task

_PACKAGES = ("torch", "transformers", "verl", "ray", "diffusers", "wandb", "omegaconf")


@dataclass(frozen=True)
class Stack:
    """Every actor of a run, started."""

    policy: Policy
    samplers: Samplers
    generator: Generator
    judge: Judge
    workers: RolloutWorkers


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    run_dir: Path
    changes: dict[str, Change]


async def run(recipe: Recipe, *, is_resumed: bool = False, console: Console | None = None) -> Outcome:
    """Train the critic of a recipe and show what it learned. Raises ValueError before anything starts."""
    console = console or Console(highlight=False, soft_wrap=True)
    run_dir = Path(recipe.run_dir)
    training, heldout = (
        load_tasks(resolve_path(p), recipe.data.image_prefix) for p in (recipe.data.train, recipe.data.heldout)
    )
    _check_run_dir(run_dir, is_resumed)
    _explain(run_dir, recipe)
    start = time.monotonic()
    console.print(f"[bold]{recipe.name}[/]  {len(training)} tasks, {len(heldout)} held out; starting the actors ...")
    async with stack(recipe) as actors:
        console.print(f"actors are up after {time.monotonic() - start:.0f} s")
        done = await checkpoint.resume(recipe, actors.policy) if is_resumed else 0
        log = Log(recipe, resumed_after=done, console=console)
        try:
            log.metrics(await actors.policy.publish(actors.samplers))
            changes = await _train_between_evaluations(recipe, actors, training, heldout, (log, done))
        finally:
            log.close()
        await actors.policy.export(run_dir / "export")
    report = write_report(run_dir, Store(Path(recipe.store).resolve()), changes)
    _print_closing(console, recipe, changes, time.monotonic() - start)
    console.print(f"report  {report}\nexport  {run_dir / 'export'}")
    return Outcome(run_dir, changes)


async def _train_between_evaluations(
    recipe: Recipe, actors: Stack, training: list[Task], heldout: list[Task], progress: tuple[Log, int]
) -> dict[str, Change]:
    log, done = progress
    weights = {term.key: term.weight for term in recipe.reward.terms}
    evaluator = Evaluator(recipe.evaluation, heldout, actors.workers.roll_out, weights)
    saved = Path(recipe.run_dir) / "evaluation_before.json"
    if done and saved.exists():
        before = Evaluation.load(saved)
    else:
        before = await evaluator(recipe.evaluation.num_tasks)
        log.evaluation(before, "before", step=0)
    stream = RolloutStream(recipe, training, actors.workers.roll_out, first_step=done + 1)
    await train(
        recipe,
        actors.policy,
        actors.samplers,
        stream,
        lambda step: evaluator(recipe.evaluation.num_tasks_during),
        log,
    )
    after = await evaluator(recipe.evaluation.num_tasks)
    log.metrics(await actors.workers.stats())
    log.evaluation(after, "after", step=recipe.num_steps)
    return compare(before, after)


@asynccontextmanager
async def stack(recipe: Recipe) -> AsyncIterator[Stack]:
    """Start every actor of a recipe, all at once; stop them on exit."""
    store_root = str(Path(recipe.store).resolve())
    model = str(_model(recipe.policy.model))
    async with ray_cluster(recipe.ray_address, recipe.num_cpus):
        policy, samplers, generator, judge = await asyncio.gather(
            Policy.start(
                replace(recipe.policy, model=model),
                recipe.algorithm.loss,
                store_root=store_root,
                total_steps=recipe.num_steps,
                temperature=recipe.rollout.temperature,
            ),
            Samplers.start(recipe.samplers, model, store_root=store_root),
            Generator.start(replace(recipe.generator, model=str(_model(recipe.generator.model))), store_root),
            Judge.start(recipe.judge, store_root),
        )
        journey = SingleStep(
            sampler=samplers,
            generator=generator,
            judge=judge,
            reward=WeightedSum(tuple(recipe.reward.terms)),
            template=resolve_path(recipe.rollout.prompt).read_text(encoding="utf-8"),
            params=SamplingParams(recipe.rollout.temperature, recipe.rollout.max_tokens),
            regenerate=Regenerate(recipe.rollout.regenerate),
        )
        workers = await RolloutWorkers.start(recipe.workers, journey)
        yield Stack(policy, samplers, generator, judge, workers)


def _model(name: str) -> Path | str:
    """Return a model's folder where there is one, else its hub id as given."""
    path = resolve_path(name)
    return path.resolve() if path.exists() else name


def _check_run_dir(run_dir: Path, is_resumed: bool) -> None:
    has_run = (run_dir / "metrics.jsonl").exists()
    if has_run and not is_resumed:
        raise ValueError(f"{run_dir} holds a run already; add --resume to go on with it, or run_dir=... for another")
    if is_resumed and not has_run:
        raise ValueError(f"{run_dir} holds no run to resume")


def _explain(run_dir: Path, recipe: Recipe) -> None:
    """Write what the run can be explained by: resolved recipe, versions, commit."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    versions = {package: version(package) for package in _PACKAGES}
    versions |= {"python": platform.python_version(), "commit": _commit()}
    (run_dir / "versions.json").write_text(json.dumps(versions, indent=1))


def _commit() -> str:
    """Return the checkout's commit, marked when files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=REPO, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "not a git checkout"


def _print_closing(console: Console, recipe: Recipe, changes: dict[str, Change], seconds: float) -> None:
    table = Table(
        title=f"{recipe.name}: held-out tasks, same seeds, after {seconds / 60:.1f} minutes", title_justify="left"
    )
    for column in ("", "before", "after", "change", "95 % interval"):
        table.add_column(column, justify="left" if not column else "right")
    for row in table_rows(changes):
        table.add_row(*row)
    console.print(table)
