"""Whether a training's disk has room for what it saves, by the model's config.json: before its actors start.

The policy's own check (`actors/policy/export.py`) counts the tensors that there are; it is the only one where the model
is not on this machine yet.
"""

import shutil
from pathlib import Path

from actors.config import PolicyConfig
from rl.plan.adapters import adapters_of
from rl.plan.models import ModelSize, model_size
from rl.plan.tensor_shapes import VISION
from rl.recipe.jobs import TrainingRecipe
from rollout.text.sizes import size_told

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def check_disk(recipe: TrainingRecipe) -> None:
    """Raise ValueError where less is free at `run_dir` than a checkpoint and the export take."""
    model = model_size(recipe.policy.model)
    if model is None:
        return
    try:
        needed = bytes_saved(recipe.policy, model)
    except KeyError:  # a config.json may leave out what is as its class has it
        return
    folder = Path(recipe.run_dir).absolute()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    if free < needed:
        raise ValueError(
            f"run_dir is {recipe.run_dir}: a checkpoint and an export take about {size_told(needed)}, and "
            f"{size_told(free)} are free there; make room, or set run_dir to a larger disk"
        )


def bytes_saved(config: PolicyConfig, model: ModelSize) -> int:
    """Return what `actors.policy.export.bytes_saved` will: an export, float32 weights and Adam's two moments."""
    num = model.num_parameters
    if config.lora.rank:
        num_trained = sum(one.num_parameters for one in adapters_of(config, model))
        num_exported, num_saved = num + num_trained, num_trained
    else:
        num_trained = num - (model.parts[VISION] if config.freeze_vision else 0)
        num_exported = num_saved = num
    return num_exported * _BYTES[config.dtype] + 4 * num_saved + 8 * num_trained
