"""One run from recipe to report: start the actors, evaluate, train, evaluate again, export."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.store.learned import LearnedLog, read_learned
from actors.store.ledger_table import compact
from actors.store.store import Store
from rl import checkpoint
from rl.batch import NotFinite
from rl.evaluation import Change, Evaluator, compare, evaluated_before
from rl.first_complete import FirstComplete
from rl.full_disk import telling_when_full
from rl.kept_checkpoints import best_checkpoint
from rl.kept_groups import KeptGroups
from rl.large_blocks import return_large_blocks
from rl.lost_weights import LostWeights
from rl.notices import notices, overlap
from rl.official.during import SideBenchmark
from rl.preemption import Preempted
from rl.prepare import PreparedRun
from rl.progress import evaluate_aloud
from rl.recipe.config import Recipe
from rl.run_dir.provenance import write_provenance
from rl.run_dir.report import table_rows, write_report
from rl.run_dir.resume import going_on
from rl.side_evaluation import SideEvaluations
from rl.stack import Stack, start_stack
from rl.stream import RollOut, RolloutsFailed, RolloutStream
from rl.strict_answers import check_strict_answers
from rl.tracking.loop_watch import LONG_MS, watch_loop
from rl.tracking.metrics_file import is_evaluated
from rl.tracking.rl_log import Log
from rl.train import train
from rollout.roles import BudgetSpent, CheckpointError, PublishError, RunStopped
from rollout.text.counted import counted
from rollout.text.foreign import error_text
from rollout.text.readers import READERS
from rollout.types import Group, GroupRequest, Phase

T = TypeVar("T")
Start = Callable[[PreparedRun], AbstractAsyncContextManager[Stack]]


@dataclass(frozen=True)
class RunResult:
    """What a run came to."""

    run_dir: Path
    changes: dict[str, Change]


async def run(plan: PreparedRun, *, console: Console | None = None, start: Start = start_stack) -> RunResult:
    """Train the critic of a recipe and show what it learned; `start` starts its actors."""
    console = console or Console(highlight=False, soft_wrap=True)
    recipe, run_dir = plan.recipe, Path(plan.recipe.run_dir)
    write_provenance(recipe, plan.sources)
    return_large_blocks()
    began = time.monotonic()
    console.print(
        f"[bold]{escape(recipe.name)}[/]  {len(plan.training)} tasks, {len(plan.heldout)} held out; "
        "starting the actors ..."
    )
    if plan.idle_evidence:
        console.print(f"[yellow]{escape(plan.idle_evidence)}[/]")
    for notice in chain(notices(recipe, len(plan.heldout)), overlap(plan.training, plan.heldout)):
        console.print(f"[yellow]{escape(notice)}[/]")
    async with start(plan) as actors, watch_loop() as watch, telling_when_full(run_dir):
        console.print(f"actors are up after {time.monotonic() - began:.0f} s")
        await actors.policy.check_folder(run_dir)
        done = await checkpoint.resume(recipe, actors.policy) if plan.is_resumed else 0
        if plan.is_resumed:
            console.print(going_on(done, recipe.num_steps))
        await asyncio.to_thread(actors.ledger.begin, done + 1)
        learned = LearnedLog(actors.ledger.folder, actors.ledger.attempt)
        log = await Log.start(
            recipe, resumed_after=done, console=console, stats=actors.stats, watch=watch, learned=learned
        )
        try:
            log.metrics(await actors.policy.publish(actors.samplers))
            changes = await train_between_evaluations(plan, actors, log, done)
        except (BudgetSpent, RunStopped):
            # What there is: a checkpoint of the last step that was learned from, and no export of half a run.
            if (report := await _report(console, recipe, {})) is not None:
                console.print(escape(f"report  {report}"))
            raise
        finally:
            await log.close()
            await _dispensable(console, "the ledger's table", compact, run_dir / "ledger")
        await checkpoint.export(recipe, actors.policy, recipe.num_steps, run_dir / "export")
        # While the actors live: without a shared file system some of its images are still on other nodes.
        report = await _report(console, recipe, changes)
    _print_closing(console, recipe, changes, time.monotonic() - began)
    if report is not None:
        console.print(escape(f"report  {report}"))
    if best := best_checkpoint(recipe):
        console.print(escape(f"best    {best}"))
    console.print(escape(f"export  {run_dir / 'export'}"))
    if watch.max_ms >= LONG_MS:
        console.print(escape(f"loop    {watch}"))
    return RunResult(run_dir, changes)


async def train_between_evaluations(plan: PreparedRun, actors: Stack, log: Log, done: int) -> dict[str, Change]:
    recipe = plan.recipe
    weights = {term.key: term.weight for term in recipe.reward.terms if not term.is_format}
    evaluator = Evaluator(
        recipe.evaluation, plan.heldout, actors.workers.roll_out, weights, recipe.rollout.max_failure_share
    )
    stream = make_stream(plan, actors, log, done)
    lost = LostWeights(actors.policy, actors.samplers, log.say)
    num_tasks = min(recipe.evaluation.num_tasks or len(plan.heldout), len(plan.heldout))
    before = await asyncio.to_thread(evaluated_before, Path(recipe.run_dir))
    if before is None:
        if recipe.answers == "public":
            await check_strict_answers(recipe, plan.training, actors.journey.draw, log.say)
        log.say(f"evaluating {num_tasks} held-out tasks before training ...")
        before = await lost.mended_during(evaluate_aloud(evaluator, num_tasks, Phase.BEFORE, 0, log.say))
        await log.evaluation(before, Phase.BEFORE, step=0)
        before = replace(before, groups=())  # they are in the ledger; what lives long, the garbage collector walks
    evaluations = SideEvaluations(evaluator, actors.journey.draw, log, side_benchmark(plan, actors, log))
    if recipe.evaluates_at(done) and not is_evaluated(Path(recipe.run_dir), done):
        await evaluations.begin(done)  # the run stopped before it was over
    try:
        await train(recipe, actors.policy, actors.samplers, stream, evaluations, log)
    except (BudgetSpent, CheckpointError, NotFinite, PublishError, RolloutsFailed):
        await checkpoint.save_once(recipe, actors.policy, stream.learned)
        raise
    except Preempted as error:
        await checkpoint.save_and_leave(recipe, actors.policy, error)
        raise
    log.say(f"evaluating {num_tasks} held-out tasks after training ...")
    after = await lost.mended_during(evaluate_aloud(evaluator, num_tasks, Phase.AFTER, recipe.num_steps, log.say))
    await log.evaluation(after, Phase.AFTER, step=recipe.num_steps)
    return await asyncio.to_thread(compare, before, after)


def side_benchmark(plan: PreparedRun, actors: Stack, log: Log) -> SideBenchmark | None:
    """Return what runs a part of a public benchmark beside training, where the recipe names one."""
    if plan.benchmark is None or actors.benchmark_judge is None:
        return None
    folder, store = Path(plan.recipe.run_dir) / "benchmark", Store(plan.recipe.store)
    return SideBenchmark(
        plan.benchmark,
        actors.journey,
        actors.benchmark_judge,
        folder,
        store=store,
        log=log,
        answers=READERS[plan.recipe.answers],
    )


def make_stream(plan: PreparedRun, actors: Stack, log: Log, done: int) -> RolloutStream:
    """Return the groups of the steps after `done`; those that an earlier start left complete are used."""
    recipe, tell = plan.recipe, log.say
    make: RollOut = actors.workers.roll_out
    if recipe.max_staleness:
        kept = KeptGroups(recipe, actors.ledger, plan.sources)
        make = kept.around(make)
        if number := kept.count():
            tell(f"using {counted(number, 'complete group')} that no checkpoint has learned from")

    async def roll_out(request: GroupRequest) -> Group:
        actors.policy.prepare((request.task.before, request.task.after))
        return await make(request)

    if not recipe.rollout.first_complete:
        return RolloutStream(recipe, plan.training, roll_out, first_step=done + 1)
    tell("[yellow]not reproducible: rollout.first_complete takes groups in the order that they are complete[/]")
    rows = [row for row in read_learned(actors.ledger.folder) if row["step"] <= done]
    learned = {(group["step"], group["task_id"]) for row in rows for group in row["groups"]}
    return FirstComplete(recipe, plan.training, roll_out, first_step=done + 1, learned=learned)


async def _report(console: Console, recipe: Recipe, changes: dict[str, Change]) -> Path | None:
    store = Store(recipe.store)
    return await _dispensable(
        console, "the report", write_report, Path(recipe.run_dir), store, changes, best_checkpoint(recipe)
    )


async def _dispensable(console: Console, what: str, make: Callable[..., T], *arguments: object) -> T | None:
    """Return what a run can do without; where it cannot be made that is told, and nothing else is lost with it."""
    try:
        return await asyncio.to_thread(make, *arguments)
    except Exception as error:
        console.print(f"[yellow]{what} was not written: {escape(f'{type(error).__name__}: {error_text(error)}')}[/]")
        return None


def _print_closing(console: Console, recipe: Recipe, changes: dict[str, Change], seconds: float) -> None:
    table = Table(
        title=f"{escape(recipe.name)}: held-out tasks, same seeds, after {seconds / 60:.1f} minutes",
        title_justify="left",
    )
    for column in ("", "before", "after", "change", "95 % interval"):
        table.add_column(column, justify="left" if not column else "right")
    for row in table_rows(changes):
        table.add_row(*row)
    console.print(table)
