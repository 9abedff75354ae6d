"""What every run begins with: its models are there, its folder is free, and what it can be explained by is written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from actors.generator.config import GeneratorConfig
from rl import __version__
from rl.atomic_write import atomic_write
from rl.recipe.config import REPO, RunRecipe, TrainingRecipe, resolve_path
from rl.recipe.reader import to_yaml
from rl.run_dir.resume import AUTO, check_changes, has_learned, is_begun, note_changes, was_started

NO_COMMIT = "not a git checkout"
_CONFIGS = ("config.json", "model_index.json")
"""What transformers and diffusers begin with."""
_PACKAGES = ("torch", "transformers", "verl", "ray", "diffusers", "wandb", "omegaconf", "vllm")
_PARTS = ("checkpoints", "export", "ledger")


def model_path(name: str, key: str, *, is_plain: bool = True) -> str:
    """Return a model's folder where there is one, else its hub id as given. Raises ValueError.

    One that `is_plain` is loaded by transformers or diffusers alone, which want their own files in it.
    """
    path = resolve_path(name)
    if path.exists():
        if is_plain and not any((path / file).is_file() for file in _CONFIGS):
            raise ValueError(
                f"{key} is {name}: it holds no {' or '.join(_CONFIGS)}, so it is no model in Hugging Face format"
            )
        return str(path.resolve())
    if name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ValueError(f"{key} is {name}: there is no such folder, and a hub id looks like owner/name")
    return name


def placed_generator(config: GeneratorConfig) -> GeneratorConfig:
    """Return the settings of a generator with the folder of its model, where it has one, found. Raises ValueError."""
    if not config.model:
        return config
    is_plain = not (config.custom_pipeline or config.trust_remote_code or "." in config.pipeline)
    return replace(config, model=model_path(config.model, "generator.model", is_plain=is_plain))


def check_run_dir(
    recipe: TrainingRecipe,
    is_resumed: bool,
    sources: Mapping[str, object] | None = None,
    accepted: Collection[str] = (),
) -> None:
    """Raise ValueError when a run's folder is another run's, or holds none to resume, or one of other sources.

    `sources` are those of `rl.run_dir.provenance`, where a run has some; `accepted` names what may have changed.
    """
    run_dir = Path(recipe.run_dir)
    if is_resumed and not was_started(run_dir):
        raise ValueError(f"{run_dir} holds no run to resume; --resume {AUTO} starts one where there is none")
    if is_begun(run_dir) and not is_resumed:
        raise ValueError(f"{run_dir} holds a run already; add --resume to go on with it, or run_dir=... for another")
    if has_learned(run_dir):
        check_changes(recipe, sources, accepted)
    _check_writable(run_dir)


def _check_writable(run_dir: Path) -> None:
    """Raise ValueError where a part of the folder that is there already cannot be written to."""
    for folder in (run_dir, *(run_dir / name for name in _PARTS)):
        if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise ValueError(f"{folder} cannot be written to by user {os.getuid()}; a run needs it")


def check_unfinished(recipe: TrainingRecipe) -> None:
    """Raise ValueError for a run whose last step, export and report are there."""
    run_dir = Path(recipe.run_dir)
    latest = run_dir / "checkpoints" / "latest"
    done = latest.read_text().strip() if latest.is_file() else ""
    report, export = run_dir / "report.html", run_dir / "export" / "config.json"
    is_whole = report.is_file() and export.is_file() and export.stat().st_mtime <= report.stat().st_mtime
    if is_whole and done == f"step_{recipe.num_steps:06d}":
        raise ValueError(
            f"{run_dir} is finished: its {recipe.num_steps} steps are learned, and {export.parent} and {report} are "
            f"there; to go on, set num_steps above {recipe.num_steps}"
        )


def write_provenance(recipe: RunRecipe, more: Mapping[str, object] | None = None) -> None:
    """Write what the run can be explained by: resolved recipe, versions, commit, and `more`.

    `versions.json` is that of the newest start; `versions-<number>.json` stay, one for each start of the run.
    """
    run_dir = Path(recipe.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    versions: dict[str, object] = {package: _version(package) for package in _PACKAGES}
    versions |= {"interleave-thinker": __version__, "python": platform.python_version(), "commit": _commit()}
    versions |= {**(more or {}), "changed": note_changes(recipe, more)}
    number = len(list(run_dir.glob("versions-*.json")))
    for name in (f"versions-{number}.json", "versions.json"):
        atomic_write(run_dir / name, json.dumps(versions, indent=1))
    atomic_write(run_dir / "recipe.yaml", to_yaml(recipe))  # last: by it a job is known to have begun


def _version(package: str) -> str:
    for name in (package, f"{package}-cpu"):  # vLLM's build for CPUs has a name of its own
        with suppress(PackageNotFoundError):
            return version(name)
    return "not installed"


def _commit() -> str:
    """Return the checkout's commit, marked when files differ from it; without git, or installed, there is none."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    if not (REPO / ".git").exists():  # else git would describe a checkout that we happen to be installed inside
        return NO_COMMIT
    try:
        described = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return NO_COMMIT
    return described.stdout.strip() or NO_COMMIT
