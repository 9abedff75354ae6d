"""tracking.backends: tensorboard."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from rl.recipe.jobs import TrainingRecipe
from rl.tracking.charted import Charted
from rl.tracking.trackers import BuiltinTracker, Row


class Tensorboard(BuiltinTracker):
    """Event files in the run's folder: `tensorboard --logdir runs`."""

    package = "tensorboard"

    def __init__(self, recipe: TrainingRecipe, first_step: int, kept: Sequence[Row]):
        from torch.utils.tensorboard import SummaryWriter

        # Events of the steps that a resumed run does again are hidden; the kept rows are in the older files.
        self._writer = SummaryWriter(str(Path(recipe.run_dir) / "tensorboard"), purge_step=first_step)
        # Not hidden is the evaluation after training, of the last step, which a run that is resumed there makes again.
        self._charted = Charted(Path(recipe.run_dir) / "tensorboard.json", up_to=first_step - 1)

    def log(self, row: Row, step: int) -> None:
        for key, value in self._charted.new_of(row, step).items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def images(self, key: str, pictures: Iterable[tuple[Image.Image, str]], step: int) -> None:
        import numpy as np

        if not self._charted.new_of({key: 0.0}, step):
            return
        captions = []
        for number, (picture, caption) in enumerate(pictures):
            self._writer.add_image(f"{key}/{number}", np.asarray(picture.convert("RGB")), step, dataformats="HWC")
            captions.append(f"{number}. {caption}")
        self._writer.add_text(key, "\n".join(captions), step)

    def alert(self, title: str, text: str, step: int) -> None:
        self._writer.add_text("alerts", text, step)

    def close(self) -> None:
        self._writer.close()
