"""tracking.backends: wandb, Weights & Biases."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from rl.recipe.jobs import TrainingRecipe
from rl.tracking.trackers import BuiltinTracker, Row
from rl.tracking.wandb_settings import check_environment, wandb_arguments, wandb_mode


class Wandb(BuiltinTracker):
    """Weights & Biases: as its variables say, else online with a WANDB_API_KEY and without one in the run's folder.

    A resumed run gets one of its own with the kept rows, so that no step is charted twice.
    """

    package = "wandb"

    @classmethod
    def is_wanted(cls) -> bool:
        return wandb_mode() != "disabled"

    @classmethod
    def check(cls) -> None:
        super().check()
        check_environment()

    def __init__(self, recipe: TrainingRecipe, first_step: int, kept: Sequence[Row]):
        import wandb
        from omegaconf import OmegaConf

        arguments = wandb_arguments(
            project=recipe.tracking.project,
            name=recipe.name if first_step == 1 else f"{recipe.name} from step {first_step}"[:128],
            group=recipe.name,
            run_dir=recipe.run_dir,
        )
        Path(arguments["dir"]).mkdir(parents=True, exist_ok=True)  # else W&B would take a temporary one
        self._is_online = arguments["mode"] == "online"
        content: Any = OmegaConf.to_container(OmegaConf.structured(recipe))
        self._run = wandb.init(
            **arguments,
            config=content,
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")
        for row in kept:
            self._run.log(dict(row))

    def log(self, row: Row, step: int) -> None:
        self._run.log({"step": step, **row})

    def images(self, key: str, pictures: Iterable[tuple[Image.Image, str]], step: int) -> None:
        import wandb

        self._run.log({"step": step, key: [wandb.Image(picture, caption=caption) for picture, caption in pictures]})

    def alert(self, title: str, text: str, step: int) -> None:
        if self._is_online:
            self._run.alert(title=title, text=text, level="WARN")

    def close(self) -> None:
        self._run.finish()
