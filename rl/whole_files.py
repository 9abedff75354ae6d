"""Whether what a job goes on from is whole: a damaged file is named before anything starts, with what to do."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rl.json_file import read_object
from rollout.text.limits import shown

FILES = (
    "recipe.yaml",
    "versions.json",
    "metrics.jsonl",
    "evaluation_before.json",
    "evaluation_after.json",
    "ended.json",
    "report.html",
    "wandb.json",
    "tensorboard.json",
    "best.json",
    "best_pending.json",
    "checkpoints/latest",
    "checkpoints/best",
)
"""What a run writes as files."""
_STEP = re.compile(r"step_([0-9]{1,12})")


def check_files(run_dir: Path) -> None:
    """Raise ValueError for something else, a folder say, in the place of a file that a run writes."""
    for file in (*(run_dir / name for name in FILES), *sorted((run_dir / "ledger").glob("*.log"))):
        if os.path.lexists(file) and not file.is_file():
            what = "a folder" if file.is_dir() else "a link that leads nowhere" if file.is_symlink() else "no file"
            raise ValueError(f"{file} is {what}; a run writes a file of this name: move it away, or put the file back")


def last_step(run_dir: Path) -> int:
    """Return the step of the newest checkpoint; 0 if there is none. Raises ValueError where `latest` is damaged."""
    return int(newest_name(run_dir).removeprefix("step_") or 0)


def newest_name(run_dir: Path) -> str:
    """Return what `checkpoints/latest` holds, '' where it is not there. Raises ValueError for no checkpoint's name."""
    pointer = run_dir / "checkpoints" / "latest"
    if not os.path.lexists(pointer):
        return ""
    try:
        name = pointer.read_bytes().decode("utf-8", "replace").strip()
    except OSError as error:
        raise ValueError(f"{pointer} cannot be read: {error.strerror}{_instead(run_dir)}") from None
    if not _STEP.fullmatch(name):
        told = shown(name[:40]) if name else "empty"
        raise ValueError(f"{pointer} is damaged: it is {told}; expected a checkpoint's name{_instead(run_dir)}")
    return name


def step_of(name: str) -> int | None:
    """Return the step of a checkpoint's folder by its name; None for another name.

    >>> step_of("step_000012"), step_of("step_old")
    (12, None)
    """
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else None


def check_newest(run_dir: Path) -> None:
    """Raise ValueError where `latest` is damaged, or names what is not a whole checkpoint."""
    if name := newest_name(run_dir):
        folder = run_dir / "checkpoints" / name
        if why := _why_broken(folder):
            raise ValueError(f"{folder} is the newest checkpoint, and is not whole: {why}{_instead(run_dir)}")


def explained(run_dir: Path) -> dict[str, Any]:
    """Return what versions.json holds; nothing where it is not there. Raises ValueError where it is damaged."""
    file = run_dir / "versions.json"
    if not file.exists():
        return {}
    try:
        return read_object(file)
    except ValueError as error:
        copies = sorted(run_dir.glob("versions-*.json"), key=lambda path: (len(path.name), path.name))
        instead = f"{copies[-1]} was written with it: copy that over it" if copies else "put it back from a copy"
        raise ValueError(f"{error}; {instead}") from None


def _why_broken(folder: Path) -> str:
    """Return why a checkpoint cannot be gone on from; empty where nothing is known."""
    ranks = folder / "policy" / "policy.json"
    try:
        said = read_object(folder / "state.json")
        if ranks.exists():
            read_object(ranks)
    except OSError as error:
        return f"its state.json cannot be read ({error.strerror})"
    except ValueError as error:
        return str(error)
    return "" if said.get("step") == step_of(folder.name) else "its state.json is another step's"


def _instead(run_dir: Path) -> str:
    whole = list(_whole_ones(run_dir / "checkpoints"))
    if whole:
        return f"; to go on from {whole[-1]}, which is whole, write that name into {run_dir / 'checkpoints' / 'latest'}"
    return "; put it back from a copy, or choose another run_dir"


def _whole_ones(folder: Path) -> Iterator[str]:
    steps = {step: path for path in folder.glob("step_*") if (step := step_of(path.name)) is not None}
    return (steps[step].name for step in sorted(steps) if not _why_broken(steps[step]))
