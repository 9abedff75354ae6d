"""Checkpoints: a temporary name, then a rename, then `latest`; so that a kill at any instant leaves a whole one."""

import asyncio
import json
import os
import shutil
from pathlib import Path

from rl.atomic_write import atomic_write
from rl.recipe.jobs import TrainingRecipe
from rollout.roles import CheckpointError, Policy

_NUM_KEPT = 2


def folder_of(recipe: TrainingRecipe) -> Path:
    return Path(recipe.run_dir).resolve() / "checkpoints"


async def save(recipe: TrainingRecipe, policy: Policy, step: int) -> Path:
    """Write the checkpoint of a consumed step and return its folder.

    What a step rolls out depends on the recipe's seed and the step alone, so the step number is all the
    stream's state there is; groups in flight ahead of it are rolled out again.
    """
    root = folder_of(recipe)
    final, temporary = root / f"step_{step:06d}", root / f".step_{step:06d}.writing"
    await asyncio.to_thread(_clear, temporary)
    temporary.mkdir(parents=True)
    await policy.save(temporary / "policy")
    (temporary / "state.json").write_text(json.dumps({"step": step}))
    await asyncio.to_thread(_commit, temporary, final)
    return final


async def save_once(recipe: TrainingRecipe, policy: Policy, step: int) -> None:
    """Write the checkpoint of the last consumed step, unless it is there or nothing was learned yet."""
    if step > 0 and not (folder_of(recipe) / f"step_{step:06d}" / "state.json").exists():
        await save(recipe, policy, step)


async def resume(recipe: TrainingRecipe, policy: Policy) -> int:
    """Load the newest checkpoint into the policy and return its step; 0 when there is none."""
    pointer = folder_of(recipe) / "latest"
    if not pointer.exists():
        return 0
    folder = folder_of(recipe) / pointer.read_text().strip()
    if not (folder / "state.json").exists():
        raise ValueError(f"{pointer} names {folder.name}, which is not a whole checkpoint")
    await policy.load(folder / "policy")
    return int(json.loads((folder / "state.json").read_text())["step"])


async def export(recipe: TrainingRecipe, policy: Policy, step: int, folder: Path) -> None:
    """Export what was learned up to a step. Raises `CheckpointError` that says how to do it again.

    By then there is a checkpoint of that step, so that nothing is lost with an export.
    """
    try:
        await policy.export(folder)
    except Exception as error:
        await save_once(recipe, policy, step)
        cause = getattr(error, "cause", error)  # of Ray's, whose own text is a traceback
        raise CheckpointError(
            f"the export to {folder} failed: {type(cause).__name__}: {' '.join(str(cause).split())}; the checkpoint of "
            f"step {step} is whole: once that is mended, the same command and --resume export it"
        ) from error


def _commit(temporary: Path, final: Path) -> None:
    _clear(final)
    os.replace(temporary, final)
    atomic_write(final.parent / "latest", final.name)
    for old in sorted(final.parent.glob("step_*"))[:-_NUM_KEPT]:
        _clear(old)


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
