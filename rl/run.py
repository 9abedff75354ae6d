"""One run from recipe to report: start the actors, evaluate, train, evaluate again, export."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from actors.cluster import ray_cluster
from actors.config import EvidenceConfig, JudgeConfig
from actors.generator.api import check_api
from actors.generator.generator import Generator
from actors.generator.settings import check_generator
from actors.judge.judge import check_baseline, check_judge, start_judge
from actors.judge.probe import probe_judges
from actors.judge.settings import member_configs
from actors.observer import judges_of, start_observers
from actors.reward.samples import try_reward
from actors.rollout_worker import RolloutWorkers
from actors.sampler.sampler import Samplers
from actors.store.ledger import Ledger, start_time
from actors.store.ledger_table import compact
from actors.store.ledger_writer import start_ledger
from actors.store.peers import managed_store
from actors.store.store import Store
from actors.user_functions.runner import RewardRunner
from rl import checkpoint
from rl.advantages import check_estimator_and_loss
from rl.evaluation import Change, Evaluation, Evaluator, compare
from rl.recipe.config import Recipe, resolve_path
from rl.recipe.evidence import idle_evidence, needed_evidence
from rl.recipe.tasks import read_tasks
from rl.run_dir.provenance import sources_of
from rl.run_dir.report import table_rows, write_report
from rl.run_dir.start import check_run_dir, model_path, placed_generator, write_provenance
from rl.stream import RolloutsFailed, RolloutStream
from rl.tracking.log import Log
from rl.tracking.loop_watch import watch_loop
from rl.train import train
from rollout.concurrency import all_settled
from rollout.roles import BudgetSpent, PublishError, RunStopped
from rollout.single_step import Baseline, Regenerate, SingleStep
from rollout.text.critique import render_messages
from rollout.text.seeds import seed_of
from rollout.types import Phase, SamplingParams, Task

if TYPE_CHECKING:
    from actors.policy.policy import Policy

NUM_CHECKED = 1000
"""Tasks of each kind that tell what the generator will be asked for."""


@dataclass(frozen=True)
class Stack:
    """Every actor of a run, started."""

    policy: Policy
    samplers: Samplers
    journey: SingleStep
    workers: RolloutWorkers
    ledger: Ledger
    has_counts_in_workers: bool = False
    """A service is made in each worker (num_replicas: 0), and counted there."""

    async def stats(self) -> dict[str, float]:
        """Return what the services have counted since the start, keyed `service/name`."""
        counts = await self.workers.stats() if self.has_counts_in_workers else self.workers.own_stats()
        # An owner counts for all workers: added up over them, its counts would be there once for each.
        return counts | await self.samplers.stats() | await self.journey.stats()


@dataclass(frozen=True)
class PreparedRun:
    """A recipe, checked, with all that can be read before anything starts."""

    recipe: Recipe
    training: Sequence[Task]
    heldout: Sequence[Task]
    template: str
    reward: RewardRunner
    evidence: dict[str, EvidenceConfig]
    """What the reward needs beside the judge's scores."""
    is_resumed: bool


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    run_dir: Path
    changes: dict[str, Change]


def prepare(recipe: Recipe, *, is_resumed: bool = False) -> PreparedRun:
    """Check everything that can be wrong with a recipe before it costs anything. Raises ValueError."""
    check_estimator_and_loss(recipe.algorithm.advantage, recipe.algorithm.loss.policy_loss)
    training, heldout = (read_tasks(path, recipe.data) for path in (recipe.data.train, recipe.data.heldout))
    model_path(recipe.policy.model, "policy.model")
    some = chain(islice(training, NUM_CHECKED), islice(heldout, NUM_CHECKED))
    check_generator(placed_generator(recipe.generator), {task.before and "an image" for task in some})
    check_api(recipe.generator)
    check_judge(recipe.judge)
    check_baseline(Baseline(recipe.rollout.baseline), recipe.judge)
    prompt = resolve_path(recipe.rollout.prompt)
    if not prompt.is_file():
        raise ValueError(f"rollout.prompt is {recipe.rollout.prompt}: there is no such file")
    template = prompt.read_text(encoding="utf-8")
    render_messages(template, training[0])
    reward = RewardRunner(recipe.reward.terms)
    if not recipe.reward.probe:
        evidence = needed_evidence(recipe, reward.check())
    else:
        evidence = try_reward(recipe.reward.terms, partial(needed_evidence, recipe), training)
    check_run_dir(recipe, is_resumed, sources_of(recipe))
    asyncio.run(probe_judges({"judge": recipe.judge} | judges_of(evidence)))
    return PreparedRun(recipe, training, heldout, template, reward, evidence, is_resumed)


async def run(plan: PreparedRun, *, console: Console | None = None) -> RunResult:
    """Train the critic of a recipe and show what it learned."""
    console = console or Console(highlight=False, soft_wrap=True)
    recipe, run_dir = plan.recipe, Path(plan.recipe.run_dir)
    write_provenance(recipe, sources_of(recipe))
    start = time.monotonic()
    console.print(
        f"[bold]{recipe.name}[/]  {len(plan.training)} tasks, {len(plan.heldout)} held out; starting the actors ..."
    )
    if idle := idle_evidence(recipe, plan.evidence):
        console.print(f"[yellow]{idle}[/]")
    async with stack(plan) as actors, watch_loop() as watch:
        console.print(f"actors are up after {time.monotonic() - start:.0f} s")
        await actors.policy.check_folder(run_dir)
        done = await checkpoint.resume(recipe, actors.policy) if plan.is_resumed else 0
        await asyncio.to_thread(actors.ledger.begin, done + 1)
        log = await Log.start(recipe, resumed_after=done, console=console, stats=actors.stats, watch=watch)
        try:
            log.metrics(await actors.policy.publish(actors.samplers))
            changes = await train_between_evaluations(plan, actors, log, done)
        except (BudgetSpent, RunStopped):
            # What there is: a checkpoint of the last step that was learned from, and no export of half a run.
            report = await asyncio.to_thread(write_report, run_dir, Store(Path(recipe.store).resolve()), {})
            console.print(f"report  {report}")
            raise
        finally:
            await log.close()
            await asyncio.to_thread(compact, run_dir / "ledger")
        await actors.policy.export(run_dir / "export")
        # While the actors live: without a shared file system some of its images are still on other nodes.
        report = await asyncio.to_thread(write_report, run_dir, Store(Path(recipe.store).resolve()), changes)
    _print_closing(console, recipe, changes, time.monotonic() - start)
    console.print(f"report  {report}\nexport  {run_dir / 'export'}")
    console.print(f"loop    {watch}")
    return RunResult(run_dir, changes)


async def train_between_evaluations(plan: PreparedRun, actors: Stack, log: Log, done: int) -> dict[str, Change]:
    recipe = plan.recipe
    weights = {term.key: term.weight for term in recipe.reward.terms if not term.is_format}
    evaluator = Evaluator(
        recipe.evaluation, plan.heldout, actors.workers.roll_out, weights, recipe.rollout.max_failure_share
    )
    stream = RolloutStream(recipe, plan.training, actors.workers.roll_out, first_step=done + 1)
    saved = Path(recipe.run_dir) / "evaluation_before.json"
    if saved.exists():
        before = Evaluation.load(saved)
    else:
        before = await evaluator(recipe.evaluation.num_tasks, Phase.BEFORE)
        await log.evaluation(before, Phase.BEFORE, step=0)
        before = replace(before, groups=())  # they are in the ledger; what lives long, the garbage collector walks
    try:
        await train(
            recipe,
            actors.policy,
            actors.samplers,
            stream,
            lambda step: evaluator(recipe.evaluation.num_tasks_during, Phase.DURING, step),
            log,
        )
    except (BudgetSpent, RolloutsFailed):
        await checkpoint.save_once(recipe, actors.policy, stream.consumed)
        raise
    except PublishError:  # the next step's update is done, and a resumed run begins with a publish
        await checkpoint.save_once(recipe, actors.policy, stream.consumed + 1)
        raise
    after = await evaluator(recipe.evaluation.num_tasks, Phase.AFTER, recipe.num_steps)
    await log.evaluation(after, Phase.AFTER, step=recipe.num_steps)
    return await asyncio.to_thread(compare, before, after)


@asynccontextmanager
async def stack(plan: PreparedRun) -> AsyncIterator[Stack]:
    """Start every actor of a recipe, all at once; stop them on exit."""
    from actors.policy.policy import Policy  # verl takes seconds to import: only where a policy starts

    recipe = plan.recipe
    store_root = str(Path(recipe.store).resolve())
    # Runs on one cluster may share a store, but never their pools.
    run_id = f"{seed_of(Path(recipe.run_dir).resolve()):08x}"
    model = model_path(recipe.policy.model, "policy.model")
    # What an earlier attempt at this run wrote or used belongs to it, too.
    run_start = start_time(Path(recipe.run_dir) / "ledger")
    attended = managed_store(
        store_root, is_shared=recipe.store_is_shared, limit_gib=recipe.store_limit_gib, run_start=run_start
    )
    async with ray_cluster(recipe.ray_address, recipe.num_cpus), attended:
        starting: list[Coroutine[Any, Any, Any]] = [
            Policy.start(
                replace(recipe.policy, model=model),
                recipe.algorithm.loss,
                store_root=store_root,
                total_steps=recipe.num_steps,
                temperature=recipe.rollout.temperature,
            ),
            Samplers.start(recipe.samplers, model, store_root=store_root),
            Generator.start(
                placed_generator(recipe.generator),
                store_root,
                f"generator-{run_id}",
                Path(recipe.run_dir) / "ledger",
            ),
            start_judge(recipe.judge, store_root, f"judge-{run_id}", Path(recipe.run_dir) / "ledger"),
            start_observers(plan.evidence, store_root, f"evidence-{run_id}", Path(recipe.run_dir) / "ledger"),
        ]
        # Settled: else the others would go on starting while Ray is shut down for the error of one.
        policy, samplers, generator, judge, observers = await all_settled(starting)
        journey = SingleStep(
            sampler=samplers,
            generator=generator,
            judge=judge,
            reward=plan.reward,
            template=plan.template,
            params=SamplingParams(recipe.rollout.temperature, recipe.rollout.max_tokens),
            regenerate=Regenerate(recipe.rollout.regenerate),
            baseline=Baseline(recipe.rollout.baseline),
            observers=observers,
        )
        ledger = start_ledger(Path(recipe.run_dir) / "ledger", store=Store(store_root))
        workers = await RolloutWorkers.start(recipe.workers, journey, ledger)
        yield Stack(policy, samplers, journey, workers, ledger, has_local_service(recipe, plan.evidence))


def has_local_service(recipe: Recipe, evidence: Mapping[str, EvidenceConfig]) -> bool:
    """Say whether one of the services is made where it is asked, without an owner for the run."""
    judges = [recipe.judge, *(config.judge for config in evidence.values() if config.judge is not None)]
    asked = [member for judge in judges for member in _judges_asked(judge)]
    functions = [config for config in evidence.values() if config.judge is None]
    num_replicas = [judge.num_replicas for judge in asked] + [config.num_replicas for config in functions]
    return 0 in [recipe.generator.num_replicas, *num_replicas]


def _judges_asked(config: JudgeConfig) -> Iterator[JudgeConfig]:
    """Yield the judges that are asked in the end: an ensemble's members, and theirs."""
    members = member_configs(config)
    for member in members:
        yield from _judges_asked(member)
    if not members:
        yield config


def _print_closing(console: Console, recipe: Recipe, changes: dict[str, Change], seconds: float) -> None:
    table = Table(
        title=f"{recipe.name}: held-out tasks, same seeds, after {seconds / 60:.1f} minutes", title_justify="left"
    )
    for column in ("", "before", "after", "change", "95 % interval"):
        table.add_column(column, justify="left" if not column else "right")
    for row in table_rows(changes):
        table.add_row(*row)
    console.print(table)
