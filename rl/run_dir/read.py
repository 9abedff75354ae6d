"""What a run left in its folder, read again: its recipe, and its ledger step by step."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from actors.store.append_log import tell_damaged
from actors.store.ledger import SAMPLES, LedgerRow, read_steps
from rl.batch import is_masked, learnable, with_advantages
from rl.recipe.config import Recipe
from rl.recipe.reader import load_recipe
from rl.recipe.yaml import read_yaml
from rollout.rows import sample_of, task_of
from rollout.types import Group, Phase

SampleKey = tuple[str, int]
"""(task id, index): names a sample within its step."""

_OTHER_JOBS = {"num_epochs": "an SFT run", "requests": "a data build", "planner": "a bundle"}
"""Keys by which a recipe is known for one of another kind, the first that it has."""


def recipe_of(run_dir: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return a run's recipe, with overrides. Raises ValueError that says what the folder lacks."""
    path = run_dir / "recipe.yaml"
    if not path.is_file():
        raise ValueError(f"{run_dir} is not the folder of a run: it has no recipe.yaml")
    said = read_yaml(path, "recipe")
    if other := next((job for key, job in _OTHER_JOBS.items() if key in said), None):
        raise ValueError(f"{run_dir} is the folder of {other}, which has no rewards; runs of `interleave train` have")
    return load_recipe(path, list(overrides))


def phase_of(name: str) -> Phase:
    """Return a phase by its name. Raises ValueError that names the known ones."""
    if name not in list(Phase):
        raise ValueError(f"phase {name!r} is unknown; known are {', '.join(Phase)}")
    return Phase(name)


def steps_of(run_dir: Path, phase: Phase | None = None) -> Iterator[list[LedgerRow]]:
    """Yield the rows of one phase and step at a time, all of them or one phase's, with one step in memory.

    Raises ValueError when there is nothing to yield.
    """
    ledger = run_dir / "ledger"
    if not ledger.is_dir():
        raise ValueError(f"{run_dir} has no ledger: nothing was rolled out in it yet")
    tell_damaged(ledger, SAMPLES)
    is_empty = True
    for rows in read_steps(ledger, phase):
        is_empty = False
        yield rows
    if is_empty:
        raise ValueError(f"the ledger of {run_dir} holds no sample" + (f" of phase {phase}" if phase else " yet"))


def groups_of(rows: Sequence[LedgerRow]) -> list[Group]:
    """Return the groups of one step's rows, in order of tasks and samples."""
    ordered = sorted(rows, key=lambda row: (row["task_id"], row["index"]))
    return [
        Group(task_of(members[0]), tuple(map(sample_of, members)))
        for members in (list(group) for _, group in groupby(ordered, lambda row: row["task_id"]))
    ]


def advantages_of(groups: Sequence[Group], recipe: Recipe) -> dict[SampleKey, float]:
    """Return what training makes of a step's rewards, by sample; samples that it does not learn from are not in it.

    A response's tokens share one advantage with the estimators that judge outcomes; of others it is the
    first token's.
    """
    return {
        (task.id, sample.index): float(values[0])
        for task, sample, values in with_advantages(learnable(groups, recipe), recipe)
        if not is_masked(sample, recipe)
    }
