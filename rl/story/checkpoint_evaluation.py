"""`interleave eval stories --checkpoints RUN`: does the reward that a run was trained by go with better stories?

RUN's ledger    held-out reward without the format's, at each evaluation, over the tasks that all of them have
RUN's exports   satisfied steps, each export as the critic of the same stories
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from rich.console import Console

from actors.store.ledger import LedgerRow
from evals.clusters import Interval, share
from evals.correlation import FEWEST, Correlations, correlate
from evals.stories import PLANNED, Arm, Bar, EvalStory
from rewards.compose import weighted_mean
from rl.recipe.config import Recipe
from rl.run_dir.read import groups_of, recipe_of, steps_of
from rl.story.config import StoryRecipe
from rl.story.eval_tables import Sheet
from rl.story.evaluation import compared, report, tell_arms
from rollout.types import Phase


@dataclass(frozen=True)
class EvaluatedExport:
    """A critic that a run left, and what single steps of held-out tasks earned with it."""

    step: int
    """0: what the run began with."""
    model: str
    rewards: dict[str, list[float]]
    """By task."""

    @property
    def name(self) -> str:
        return f"step {self.step}"


async def run_checkpoint_eval(
    run_dir: Path,
    recipe: StoryRecipe,
    stories: Sequence[EvalStory],
    *,
    tries: Sequence[int],
    bar: Bar,
    out: Path,
    console: Console,
) -> list[Arm]:
    """Tell all stories with each export of a run; print and write what `run_story_eval` does, and the correlations.

    Raises ValueError for a run that has too few exports, and where no critic has a say.
    """
    if max(tries) == 1:
        raise ValueError("--tries 1: no critic has a say with one try; expected 2 or more, like 3,5")
    exports = exports_of(run_dir)
    critics = {export.name: export.model for export in exports}
    arms, about = await tell_arms(recipe, stories, critics, tries=tries, bar=bar, console=console)
    found = {number: correlations_of(exports, arms, number) for number in tries if number > 1}
    rewards = {export.name: share(export.rewards).value for export in exports}
    told = {"run": str(run_dir), "heldout_reward": rewards, "by_tries": {str(n): asdict(c) for n, c in found.items()}}
    sheets = [_points(exports, arms, list(found)), _correlations(found)]
    report(arms, list(compared(arms)), {**about, "checkpoints": told}, out, console, sheets)
    return arms


def exports_of(run_dir: Path) -> list[EvaluatedExport]:
    """Return a run's exports that were evaluated, in order. Raises ValueError where there are too few to compare."""
    recipe = recipe_of(run_dir)
    models = {0: recipe.policy.model, recipe.num_steps: str(run_dir / "export")}
    models |= {int(path.name.rpartition("_")[2]): str(path) for path in (run_dir / "exports").glob("step_*")}
    there = {step: model for step, model in models.items() if step == 0 or Path(model).is_dir()}
    rewards = {step: of for step, of in _heldout_rewards(run_dir, recipe).items() if step in there}
    if len(rewards) < FEWEST:
        steps = f" (of step {', '.join(map(str, sorted(rewards)))})" if rewards else ""
        raise ValueError(
            f"{run_dir} has {len(rewards)} evaluated exports{steps}; expected {FEWEST} or more: train with "
            "keep_exports=true and save_every a multiple of evaluation.every"
        )
    shared = set.intersection(*(set(of) for of in rewards.values()))
    return [
        EvaluatedExport(step, there[step], {task: of[task] for task in of if task in shared})
        for step, of in sorted(rewards.items())
    ]


def correlations_of(exports: Sequence[EvaluatedExport], arms: Sequence[Arm], tries: int) -> Correlations:
    """Return how reward and satisfied steps go together with so many tries."""
    by_name = {arm.name: arm.by_story for arm in arms if arm.tries == tries}
    return correlate([one.rewards for one in exports], [by_name[f"{PLANNED} + {one.name}"] for one in exports])


def _heldout_rewards(run_dir: Path, recipe: Recipe) -> dict[int, dict[str, list[float]]]:
    """Return the rewards of each evaluation's samples by step and task; the last one replaces one during its step."""
    rewards: dict[int, dict[str, list[float]]] = {}
    for phase in (Phase.BEFORE, Phase.DURING, Phase.AFTER):
        rows = (row for rows in _rows_of(run_dir, phase) for row in rows)
        for step, members in groupby(rows, lambda row: int(row["step"])):
            rewards[step] = _by_task(list(members), recipe)
    return rewards


def _rows_of(run_dir: Path, phase: Phase) -> list[list[LedgerRow]]:
    try:
        return list(steps_of(run_dir, phase))
    except ValueError:  # a run without such an evaluation
        return []


def _by_task(rows: Sequence[LedgerRow], recipe: Recipe) -> dict[str, list[float]]:
    weights = {term.key: term.weight for term in recipe.reward.terms if not term.is_format}
    totals = {
        group.task.id: [weighted_mean(one.reward.terms, weights) for one in group.valid if one.reward is not None]
        for group in groups_of(rows)
    }
    return {task: values for task, values in totals.items() if values}


def _points(exports: Sequence[EvaluatedExport], arms: Sequence[Arm], tries: Sequence[int]) -> Sheet:
    columns = ("", "held-out reward", *(f"satisfied with {number} tries, %" for number in tries))
    satisfied = {(arm.name, arm.tries): share(arm.by_story).value for arm in arms}
    rows = []
    for one in exports:
        cells = (f"{100 * satisfied[f'{PLANNED} + {one.name}', number]:.1f}" for number in tries)
        rows.append((one.name, f"{share(one.rewards).value:.3f}", *cells))
    num_tasks = len(exports[0].rewards)
    return Sheet(f"single steps and stories; rewards without format, of {num_tasks} tasks", columns, rows)


def _correlations(found: dict[int, Correlations]) -> Sheet:
    rows = [
        (f"{name}, {tries} tries", *_signed(got))
        for tries, both in found.items()
        for name, got in (("Pearson", both.pearson), ("Spearman", both.spearman))
    ]
    columns = ("", "correlation", "95 % interval")
    return Sheet(
        "held-out reward with satisfied steps, over the exports; intervals over tasks and stories", columns, rows
    )


def _signed(got: Interval) -> tuple[str, str]:
    return f"{got.value:+.2f}", f"{got.low:+.2f} to {got.high:+.2f}"
