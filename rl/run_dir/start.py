"""What every run begins with: its models are there, its folder is free, and what it can be explained by is written."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from actors.generator.config import GeneratorConfig
from actors.store.ledger import holds_samples
from rl.recipe.config import REPO, RunRecipe, TrainingRecipe, resolve_path
from rl.recipe.reader import load_as, to_yaml
from rl.recipe.resumable import describe_changes, forbidden_changes
from rl.run_dir.atomic_write import atomic_write
from rl.run_dir.provenance import changes

_CONFIGS = ("config.json", "model_index.json")
"""What transformers and diffusers begin with."""
_PACKAGES = ("torch", "transformers", "verl", "ray", "diffusers", "wandb", "omegaconf")


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


def check_run_dir(recipe: TrainingRecipe, is_resumed: bool, sources: Mapping[str, Any] | None = None) -> None:
    """Raise ValueError when a run's folder is another run's, or holds none to resume, or one of other sources.

    `sources` are those of `rl.run_dir.provenance`, where a run has some.
    """
    run_dir = Path(recipe.run_dir)
    saved = run_dir / "recipe.yaml"
    has_begun = (run_dir / "metrics.jsonl").exists() or holds_samples(run_dir / "ledger")
    if has_begun and not is_resumed:
        raise ValueError(f"{run_dir} holds a run already; add --resume to go on with it, or run_dir=... for another")
    if not is_resumed:
        return
    if not saved.exists():
        raise ValueError(f"{run_dir} holds no run to resume")
    began = load_as(type(recipe), saved)
    if changed := forbidden_changes(began, recipe):
        told = describe_changes(began, recipe, changed)
        raise ValueError(f"{run_dir} was started with another {told}; resume with the same recipe")
    explained = run_dir / "versions.json"
    if sources and explained.exists() and (new := list(changes(json.loads(explained.read_text()), sources))):
        raise ValueError(f"{run_dir} cannot be resumed: {'; '.join(new)}; put it back as it was, or start another run")


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


def write_provenance(recipe: RunRecipe, more: Mapping[str, Any] | None = None) -> None:
    """Write what the run can be explained by: resolved recipe, versions, commit, and `more`.

    `versions.json` is that of the newest start; `versions-<number>.json` stay, one for each start of the run.
    """
    run_dir = Path(recipe.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    versions: dict[str, Any] = {package: version(package) for package in _PACKAGES}
    versions |= {"python": platform.python_version(), "commit": _commit(), **(more or {})}
    number = len(list(run_dir.glob("versions-*.json")))
    for name in (f"versions-{number}.json", "versions.json"):
        atomic_write(run_dir / name, json.dumps(versions, indent=1))
    atomic_write(run_dir / "recipe.yaml", to_yaml(recipe))  # last: by it a job is known to have begun


def _commit() -> str:
    """Return the checkout's commit, marked when files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=REPO, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "not a git checkout"
