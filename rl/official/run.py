"""`interleave eval BENCHMARK`: outputs, the hand-in, answers and figures. Started again, it goes on where it ended.

<out>/outputs/                    what the agent made, as references into the store
<out>/submission/                 what the benchmark's own script reads
<out>/ledger/                     every paid call
<out>/judges/<model>/             answers.jsonl and figures.json of each judge that was asked
<out>/figures.html
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from actors.judge.probe import probe_judges
from actors.judge.question import Asker
from actors.resources import Role
from actors.run_context import RunContext
from evals.official.benchmark import Output
from rl.launch import launch
from rl.official.config import OfficialRecipe
from rl.official.judging import Jury, start_asker
from rl.official.outputs import OutputLog, Say, Teller, Telling, leniencies_in, make_outputs
from rl.official.prepare import Official, dearest_call, estimate, left_of, paid
from rl.official.report import compare, judge_folder, write_report
from rl.run_dir.provenance import write_provenance
from rl.story.run import story_stack
from rollout.roles import BudgetSpent
from rollout.text.readers import told

AT_ONCE = 32
"""Stories told at a time."""
JUDGE = "judge"
"""The judge's name on the bill."""


@dataclass(frozen=True)
class JudgeRecipe(OfficialRecipe):
    """The job in which a judge is asked; nothing of the agent's is started."""

    @property
    def roles(self) -> Mapping[str, Role]:
        return {JUDGE: self.judge}


async def run_official(
    run: Official, console: Console, *, budget_usd: float = 0.0, against: Path | None = None
) -> None:
    """Carry out a run. Raises `BudgetSpent` once the budget of US dollars is spent; 0: no limit."""
    for line in estimate(run):
        console.print(line)
    try:
        await _carry_out(run, console, budget_usd, against)
    except BudgetSpent as error:
        if not budget_usd:
            raise
        told = f"{sum(paid(run.out).values()):.2f} of --budget {budget_usd:.2f} US dollars are paid"
        raise BudgetSpent(f"{told}, and a further call might exceed it ({error}); raise it to go on") from error


async def _carry_out(run: Official, console: Console, budget_usd: float, against: Path | None) -> None:
    if run.judge is not None:
        await probe_judges({"--judge": run.judge})
    run.out.mkdir(parents=True, exist_ok=True)
    write_provenance(run.recipe, run.sources)
    say, log = progress(console), OutputLog(run.out)
    if (there := whole(run, log)) is not None:
        outputs = there
    else:
        async with _teller(run, budget_usd) as tell:
            outputs = await outputs_of(run, log, tell, say)
    if leniencies := leniencies_in(outputs.values()):
        console.print(f"read leniently  {told(leniencies)}")
    where = hand_in(run, outputs)
    console.print(escape(f"hand-in {where}"))
    if run.judge is not None:
        async with _asker(run, budget_usd) as asker:
            await score(run, outputs, asker, console, say=say, against=against)


def whole(run: Official, log: OutputLog) -> dict[str, Output] | None:
    """Return the outputs if all of them are there, so that no agent has to be started."""
    there = log.read(run.store)
    is_whole = all(item.id in there and there[item.id].error is None for item in run.items)
    return {item.id: there[item.id] for item in run.items} if is_whole else None


async def outputs_of(run: Official, log: OutputLog, tell: Teller, say: Say) -> dict[str, Output]:
    """Return all outputs, those that are there as they are."""
    telling = Telling(tell, run.benchmark.form, run.recipe.seed, AT_ONCE, run.max_failure_share)
    return await make_outputs(run.items, telling, log, run.store, say)


def hand_in(run: Official, outputs: Mapping[str, Output]) -> Path:
    """Write what the benchmark's own script reads; return where it is."""
    return run.benchmark.hand_in([(item, outputs[item.id]) for item in run.items], run.out / "submission", run.store)


async def score(
    run: Official,
    outputs: Mapping[str, Output],
    asker: Asker,
    console: Console,
    *,
    say: Say,
    against: Path | None = None,
) -> None:
    """Have the outputs judged, and write and print the figures."""
    assert run.judge is not None
    jury = Jury(run.benchmark, run.prompts, asker, run.store, max_failure_share=run.max_failure_share)
    judged, answers = await jury.judge(run.items, outputs, say)
    folder = judge_folder(run.out, run.judge.model)
    comparisons = compare(run, judged, answers, folder, against)
    write_report(run, judged, answers, comparisons, folder=folder, console=console)


def progress(console: Console) -> Say:
    """Return what tells how far a run is: at the start, at each tenth, and at the end."""
    told: dict[str, int] = {}

    def say(what: str, done: int, of: int) -> None:
        tenth = 10 * done // of if of else 10
        if told.get(what) != tenth:
            told[what] = tenth
            console.print(f"{what} {done:,} of {of:,}")

    return say


@asynccontextmanager
async def _teller(run: Official, budget_usd: float) -> AsyncIterator[Teller]:
    plan, generator = run.agent, run.agent.generator
    if budget_usd and generator.usd_per_image:
        left = left_of(budget_usd, run.out, "generator", generator.usd_per_image)
        own = generator.budget_usd or left
        plan = replace(plan, generator=replace(generator, budget_usd=min(own, left)))
    async with story_stack(plan) as stack:
        yield stack.storyteller.storyline.tell


@asynccontextmanager
async def _asker(run: Official, budget_usd: float) -> AsyncIterator[Asker]:
    assert run.judge is not None
    judge = run.judge
    if budget_usd and judge.budget_usd:  # one that costs nothing has none
        judge = replace(judge, budget_usd=left_of(budget_usd, run.out, JUDGE, dearest_call(run)))
    recipe = JudgeRecipe(**{**vars(run.recipe), "judge": judge})
    async with launch(recipe) as job:
        context = RunContext(job.store_root, f"{JUDGE}-{job.run_id}", job.ledger, JUDGE)
        [asker] = await job.start(judge=start_asker(judge, context))
        yield asker
