"""The best weights of a run so far, by a figure of its evaluations: they are what is exported."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

from rl.atomic_write import atomic_write
from rl.recipe.sft_config import SftRecipe
from rl.sft.evaluation import Figures
from rollout.roles import Policy


class BestCheckpoint:
    """Keeps `export`, a Hugging Face checkpoint, and `best.json`, which says whose weights those are."""

    def __init__(self, recipe: SftRecipe, resumed_after: int = 0):
        """Go on with what was best up to the step that the run is resumed after."""
        self._recipe = recipe
        self._note = Path(recipe.run_dir) / "best.json"
        self.step = 0
        self.value: float | None = None
        """None: there are no best weights yet."""
        if resumed_after and self._note.exists():
            saved = json.loads(self._note.read_text())
            if saved["step"] <= resumed_after and saved["figure"] == recipe.evaluation.best:
                self.step, self.value = saved["step"], saved["value"]

    @property
    def folder(self) -> Path:
        return Path(self._recipe.run_dir) / "export"

    def is_beaten_by(self, figures: Figures) -> bool:
        """Whether an evaluation is better than the best; without a figure to choose by, the newest is."""
        name = self._recipe.evaluation.best
        if not name or self.value is None:
            return True
        value = figures.get(name, math.nan)
        if math.isnan(self.value):
            return not math.isnan(value)
        return value < self.value if self._recipe.evaluation.is_less_better else value > self.value

    async def take(self, policy: Policy, step: int, figures: Figures) -> None:
        """Export the policy as the best one."""
        value = figures.get(self._recipe.evaluation.best, math.nan)
        await policy.export(self.folder)
        self.step, self.value = step, value
        note = {"step": step, "figure": self._recipe.evaluation.best, "value": value}
        await asyncio.to_thread(atomic_write, self._note, json.dumps(note))
