"""The file by which a checkpoint is held: half-written as long as it is there."""

from pathlib import Path


def hold(run_dir: Path, step: int) -> Path:
    """Return the file that holds the checkpoint of a step."""
    return run_dir.with_name(f"hold.step_{step:06d}.writing")
