"""tracking.backends: tensorboard."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from rl.recipe.jobs import TrainingRecipe
from rl.tracking.trackers import BuiltinTracker, Row


class Tensorboard(BuiltinTracker):
    """Event files in the run's folder: `tensorboard --logdir runs`."""

    package = "tensorboard"

    def __init__(self, recipe: TrainingRecipe, first_step: int, kept: Sequence[Row]):
        from torch.utils.tensorboard import SummaryWriter

        # Events of the steps that a resumed run does again are hidden; the kept rows are in the older files. The
        # evaluations before and after training stand at a step that is not done again, but they are.
        is_evaluated_again = (first_step == 1 and not kept) or 0 < recipe.num_steps < first_step
        since = first_step - is_evaluated_again
        self._writer = SummaryWriter(str(Path(recipe.run_dir) / "tensorboard"), purge_step=since)
        for row in kept:
            if row["step"] >= since:
                self.log({name: value for name, value in row.items() if name != "step"}, row["step"])

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
