"""tracking.backends: wandb, Weights & Biases."""

import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from rl.recipe.jobs import TrackingConfig, TrainingRecipe
from rl.tracking.charted import Charted
from rl.tracking.trackers import BuiltinTracker, Row
from rl.tracking.wandb_settings import check_environment, wandb_arguments, wandb_mode


class Wandb(BuiltinTracker):
    """Weights & Biases: as its variables say, else online with a WANDB_API_KEY and without one in the run's folder.

    A resumed run goes on in the same one, whose id is in its folder's `wandb.json`, and no step is charted twice.
    Without that file it gets a new one, with the kept rows.
    """

    package = "wandb"

    @classmethod
    def is_wanted(cls) -> bool:
        return wandb_mode() != "disabled"

    @classmethod
    def check(cls, config: TrackingConfig) -> None:
        super().check(config)
        check_environment()

    def __init__(self, recipe: TrainingRecipe, first_step: int, kept: Sequence[Row]):
        import wandb
        from omegaconf import OmegaConf

        self._charted = Charted(Path(recipe.run_dir) / "wandb.json", os.environ.get("WANDB_RUN_ID", ""))
        self._charted.call(self._charted.name or secrets.token_hex(4))
        arguments = wandb_arguments(
            project=recipe.tracking.project,
            name=recipe.name,
            group=recipe.name,
            run_dir=recipe.run_dir,
        )
        Path(arguments["dir"]).mkdir(parents=True, exist_ok=True)  # else W&B would take a temporary one
        self._is_online = arguments["mode"] == "online"
        content: Any = OmegaConf.to_container(OmegaConf.structured(recipe))
        self._run = wandb.init(
            **arguments,
            id=self._charted.name,
            config=content,
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")
        for row in kept:
            self.log(row, row["step"])

    def log(self, row: Row, step: int) -> None:
        if new := self._charted.new_of(row, step):
            self._run.log({"step": step, **new})

    def images(self, key: str, pictures: Iterable[tuple[Image.Image, str]], step: int) -> None:
        import wandb

        if not self._charted.new_of({key: 0.0}, step):
            return
        self._run.log({"step": step, key: [wandb.Image(picture, caption=caption) for picture, caption in pictures]})

    def alert(self, title: str, text: str, step: int) -> None:
        if self._is_online:
            self._run.alert(title=title, text=text, level="WARN")

    def close(self) -> None:
        self._run.finish()
