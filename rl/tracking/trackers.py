"""Where metrics can go beside metrics.jsonl: W&B and TensorBoard, behind one Protocol.

A tracker is made and used in one thread, and not on the event loop's.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from PIL import Image

from rl.recipe.config import BACKENDS, TrackingConfig, TrainingRecipe
from rl.tracking.wandb_settings import check_environment, wandb_arguments, wandb_mode

Row = Mapping[str, Any]


class Tracker(Protocol):
    """Charts a run."""

    def log(self, row: Row, step: int) -> None:
        """Chart the metrics of one step."""
        ...

    def images(self, key: str, pictures: Iterable[tuple[Image.Image, str]], step: int) -> None:
        """Show pictures with their captions."""
        ...

    def alert(self, title: str, text: str, step: int) -> None:
        """Tell whoever follows the run."""
        ...

    def close(self) -> None:
        """Write what is left."""
        ...


class Wandb:
    """Weights & Biases: as its variables say, else online with a WANDB_API_KEY and without one in the run's folder.

    A resumed run gets one of its own with the kept rows, so that no step is charted twice.
    """

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
        self._run = wandb.init(
            **arguments,
            config=cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(recipe))),
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


class Tensorboard:
    """Event files in the run's folder: `tensorboard --logdir runs`."""

    def __init__(self, recipe: TrainingRecipe, first_step: int, kept: Sequence[Row]):
        from torch.utils.tensorboard import SummaryWriter

        # Events of the steps that a resumed run does again are hidden; the kept rows are in the older files.
        self._writer = SummaryWriter(str(Path(recipe.run_dir) / "tensorboard"), purge_step=first_step)

    def log(self, row: Row, step: int) -> None:
        for key, value in row.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def images(self, key: str, pictures: Iterable[tuple[Image.Image, str]], step: int) -> None:
        import numpy as np

        captions = []
        for number, (picture, caption) in enumerate(pictures):
            self._writer.add_image(f"{key}/{number}", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
            captions.append(f"{number}. {caption}")
        self._writer.add_text(key, "\n".join(captions), step)

    def alert(self, title: str, text: str, step: int) -> None:
        self._writer.add_text("alerts", text, step)

    def close(self) -> None:
        self._writer.close()


def start_trackers(recipe: TrainingRecipe, first_step: int, kept: Sequence[Row]) -> list[Tracker]:
    """Start what the recipe's `tracking.backends` names; `kept` are the rows that a resumed run goes on from."""
    makers: dict[str, Callable[[TrainingRecipe, int, Sequence[Row]], Tracker]] = {
        "wandb": Wandb,
        "tensorboard": Tensorboard,
    }
    assert set(makers) == set(BACKENDS)
    return [makers[name](recipe, first_step, kept) for name in _wanted(recipe.tracking)]


def check_trackers(config: TrackingConfig) -> None:
    """Raise ValueError for a tracker that is not installed, or that would refuse what the environment tells it."""
    for name in _wanted(config):
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"tracking.backends has {name}, which is not installed: pip install {name}, or leave it out"
            )
    if "wandb" in _wanted(config):
        check_environment()


def _wanted(config: TrackingConfig) -> list[str]:
    is_disabled = wandb_mode() == "disabled"
    return [name for name in config.backends if not (name == "wandb" and is_disabled)]
