"""The demo with several seeds, each held to the bars that say the critic got better."""

from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rl.cli.run_to_end import run_to_end
from rl.evaluation import Change
from rl.recipe.config import Recipe
from rl.recipe.reader import load_recipe
from rl.run_dir.lock import locked
from rl.run_dir.resume import check_run_dir, was_started
from rl.tracking.trackers import check_trackers
from rollout.roles import RunStopped

# Smallest change, smallest lower end of the interval, for each figure.
_BARS: dict[str, tuple[float, float]] = {
    "reward": (0.05, 0.0),
    "semantic_gain": (1.0, 0.0),
    "fixed": (0.10, 0.0),
    "verdict_accuracy": (float("-inf"), -0.03),
}


def missed_bars(changes: dict[str, Change]) -> list[str]:
    """Return a line for every bar that a run's changes miss."""
    missed = []
    for name, (smallest, lowest) in _BARS.items():
        change = changes[name]
        if not (change.difference >= smallest and change.low > lowest):  # a figure that is nan misses its bar
            least = "" if smallest == float("-inf") else f"at least {smallest:+.2f} and "
            missed.append(f"{name} changed by {_cell(change)}; needed: {least}the interval above {lowest:+.2f}")
    return missed


def train_seeds(
    recipe: Path,
    overrides: list[str],
    seeds: list[int],
    folder: Path,
    *,
    is_resumed: bool = False,
    accepted: Collection[str] = (),
) -> int:
    """Run every seed in a folder of its own, print one table; return 0 when all meet every bar, else 1.

    A seed whose run stops misses them, and the others are run all the same. Resumed, begun runs go on, though they
    differ from what they were in the keys of `accepted`.
    """
    from rl.prepare import prepare  # late, both: they import Ray and torch, which the bars themselves do not need
    from rl.run import run

    recipes = [_recipe_of(seed, recipe, overrides, folder, is_resumed) for seed in seeds]
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title="learning: change on held-out tasks, with paired 95 % intervals", title_justify="left")
    for column in ("seed", *_BARS, "holds"):
        table.add_column(column)
    missed: list[str] = []
    try:
        for seed, chosen in zip(seeds, recipes, strict=True):
            run_dir = chosen.folder
            try:
                with locked(run_dir):
                    plan = prepare(chosen, is_resumed=is_resumed and was_started(run_dir), accepted=accepted)
                    changes = run_to_end(run(plan, console=console)).changes
            except RunStopped as error:
                missed.append(f"seed {seed}: the run stopped: {error}")
                table.add_row(str(seed), *("" for _ in _BARS), "no")
                continue
            failures = missed_bars(changes)
            missed += [f"seed {seed}: {failure}" for failure in failures]
            table.add_row(str(seed), *(_cell(changes[name]) for name in _BARS), "no" if failures else "yes")
    finally:  # what ends it early, a spent budget say, leaves the seeds before
        if table.row_count:
            console.print(table)
    for line in missed:
        console.print(f"[red]{escape(line)}[/]")
    return 1 if missed else 0


def _recipe_of(seed: int, recipe: Path, overrides: list[str], folder: Path, is_resumed: bool) -> Recipe:
    """Return one seed's recipe: what is wrong with the last is told before the first is trained. Raises ValueError."""
    for key, option in (("seed", "--seeds"), ("run_dir", "--out")):
        if any(said.startswith(f"{key}=") for said in overrides):
            raise ValueError(f"{key}=... is another one for each run of `learning`; say {option}")
    chosen = load_recipe(recipe, [*overrides, f"seed={seed}", f"run_dir={folder / f'seed{seed}'}"])
    check_trackers(chosen.tracking)
    if not is_resumed:
        check_run_dir(chosen, is_resumed)
    return chosen


def _cell(change: Change) -> str:
    return f"{change.difference:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
