"""Where metrics can go beside metrics.jsonl: W&B and TensorBoard, behind one Protocol.

A tracker is made and used in one thread, and not on the event loop's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from PIL import Image

from rl.recipe.config import BACKENDS, Run

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
    """Weights & Biases: online when WANDB_API_KEY is set, else into the run's folder.

    A resumed run gets one of its own with the kept rows, so that no step is charted twice.
    """

    def __init__(self, recipe: Run, first_step: int, kept: Sequence[Row]):
        import wandb
        from omegaconf import OmegaConf

        self._is_online = bool(os.environ.get("WANDB_API_KEY")) and os.environ.get("WANDB_MODE") != "offline"
        self._run = wandb.init(
            project=recipe.tracking.project,
            name=recipe.name if first_step == 1 else f"{recipe.name} from step {first_step}",
            group=recipe.name,
            dir=recipe.run_dir,
            mode="online" if self._is_online else "offline",
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

    def __init__(self, recipe: Run, first_step: int, kept: Sequence[Row]):
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
            self._writer.add_image(f"{key}/{number}", np.asarray(picture), step, dataformats="HWC")
            captions.append(f"{number}. {caption}")
        self._writer.add_text(key, "\n".join(captions), step)

    def alert(self, title: str, text: str, step: int) -> None:
        self._writer.add_text("alerts", text, step)

    def close(self) -> None:
        self._writer.close()


def start_trackers(recipe: Run, first_step: int, kept: Sequence[Row]) -> list[Tracker]:
    """Start what the recipe's `tracking.backends` names; `kept` are the rows that a resumed run goes on from."""
    makers: dict[str, Callable[[Run, int, Sequence[Row]], Tracker]] = {"wandb": Wandb, "tensorboard": Tensorboard}
    assert set(makers) == set(BACKENDS)
    return [makers[name](recipe, first_step, kept) for name in recipe.tracking.backends]
