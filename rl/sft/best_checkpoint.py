"""The best weights of a run so far, by a figure of its evaluations: these are exported."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

from rl import checkpoint
from rl.atomic_write import atomic_write
from rl.json_file import read_object
from rl.recipe.sft_config import SftRecipe
from rl.sft.evaluation import Figures
from rollout.roles import Policy


class BestCheckpoint:
    """Keeps `export`, a Hugging Face checkpoint, and `best.json`, which names its step.

    `best_pending.json` notes an export that is still due, of weights that a checkpoint holds.
    """

    def __init__(self, recipe: SftRecipe, resumed_after: int = 0):
        """Continue with the best up to the step that the run is resumed after. Raises ValueError for a damaged note."""
        self._recipe = recipe
        self._note = Path(recipe.run_dir) / "best.json"
        self._pending = Path(recipe.run_dir) / "best_pending.json"
        self.step = 0
        self.value: float | None = None
        """None: there are no best weights yet."""
        self._due = _read(self._pending)
        saved = _read(self._note) if resumed_after else None
        if saved and saved["step"] <= resumed_after and saved["figure"] == recipe.evaluation.best:
            self.step, self.value = saved["step"], saved["value"]

    @property
    def folder(self) -> Path:
        return Path(self._recipe.run_dir) / "export"

    def is_beaten_by(self, figures: Figures) -> bool:
        """Return whether an evaluation beats the best; without a figure to choose by, the newest always does."""
        name = self._recipe.evaluation.best
        if not name or self.value is None:
            return True
        value = figures.get(name, math.nan)
        if math.isnan(self.value):
            return not math.isnan(value)
        return value < self.value if self._recipe.evaluation.is_less_better else value > self.value

    def note(self, step: int, figures: Figures) -> None:
        """If an evaluation beats the best, note that the weights of its step are due to be exported."""
        if self.is_beaten_by(figures):
            name = self._recipe.evaluation.best
            self._due = {"step": step, "figure": name, "value": figures.get(name, math.nan)}
            atomic_write(self._pending, json.dumps(self._due))

    def is_due(self, step: int) -> bool:
        """Return whether the weights of this step are still to be exported."""
        due, name = self._due, self._recipe.evaluation.best
        return due is not None and (due["step"], due["figure"]) == (step, name)

    async def export(self, policy: Policy) -> None:
        """Export the policy as the best one; its step must be the one that is due. Raises `CheckpointError`."""
        assert self._due is not None
        due, self._due = self._due, None
        await checkpoint.export(self._recipe, policy, due["step"], self.folder)
        self.step, self.value = due["step"], due["value"]
        await asyncio.to_thread(atomic_write, self._note, json.dumps(due))
        self._pending.unlink()


def _read(note: Path) -> dict[str, Any] | None:
    """Return which weights a note names; None where it is not there. Raises ValueError for one that is damaged."""
    if not note.exists():
        return None
    what = "remove it: the next evaluation's weights are exported then"
    try:
        said = read_object(note)
    except ValueError as error:
        raise ValueError(f"{error}; put it back from a copy, or {what}") from None
    if missing := [key for key in ("step", "figure", "value") if key not in said]:
        raise ValueError(f"{note} is damaged: it has no {missing[0]}; put it back from a copy, or {what}")
    return said
