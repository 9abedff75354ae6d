"""Which checkpoints stay: the newest, and the best one by the evaluations that belong to them.

`latest` and `best` in their folder name one each. What is best is read off metrics.jsonl at each save, so that a
resumed run goes on as if it had never stopped.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from rl.atomic_write import atomic_write
from rl.recipe.jobs import TrainingRecipe
from rl.recipe.keep_best import is_less_better
from rl.tracking.metrics_file import read_metrics
from rl.whole_files import step_of


@dataclass(frozen=True)
class BestSaved:
    """The best checkpoint of a run that keeps it."""

    folder: Path
    figure: str
    value: float

    def __str__(self) -> str:
        return f"{self.folder}  {self.figure} {self.value:.4g}"


def folder_of(run_dir: Path) -> Path:
    return run_dir.resolve() / "checkpoints"


def best_checkpoint(recipe: TrainingRecipe) -> BestSaved | None:
    """Return the best checkpoint that is there, by the recipe's `keep_best`; of equals the oldest.

    None where nothing is to be kept, or no checkpoint was evaluated yet.
    """
    run_dir, figure = Path(recipe.run_dir), recipe.keep_best
    if not figure:
        return None
    folders = saved_folders(run_dir)
    values = {row["step"]: row[figure] for row in read_metrics(run_dir) if figure in row}
    measured = [(step, values[step]) for step in sorted(folders) if not math.isnan(values.get(step, math.nan))]
    if not measured:
        return None
    step, value = min(measured, key=lambda pair: pair[1] if is_less_better(figure) else -pair[1])
    return BestSaved(folders[step], figure, value)


def saved_folders(run_dir: Path) -> dict[int, Path]:
    """Return the folders of a run's checkpoints by their steps."""
    folders = folder_of(run_dir).glob("step_*")
    return {step: path for path in folders if (step := step_of(path.name)) is not None}


def clear_others(recipe: TrainingRecipe, newest: int) -> None:
    """Let `best` name the best checkpoint, and remove what need not stay once the one of step `newest` is saved.

    Later ones go too: a run that was resumed before them makes their steps again.
    """
    folders = saved_folders(Path(recipe.run_dir))
    kept = {folders[step] for step in sorted(step for step in folders if step <= newest)[-recipe.keep_checkpoints :]}
    best = best_checkpoint(recipe)
    if best is not None:
        kept.add(best.folder)
        atomic_write(best.folder.parent / "best", best.folder.name)
    for folder in folders.values():
        if folder not in kept:
            shutil.rmtree(folder)
