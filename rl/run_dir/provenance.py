"""What a job can be explained by: its recipe, versions and commit, and models, prompts and functions by content."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from actors.cpu_kernels import asked_of_cpus
from actors.generator.kind import kind_of
from actors.observer import describe_evidence
from rewards.functions.import_path import identity_of
from rl import __version__
from rl.atomic_write import atomic_write
from rl.recipe.config import REPO, Recipe
from rl.recipe.jobs import RunRecipe
from rl.recipe.paths import resolve_path
from rl.recipe.reader import to_yaml
from rl.run_dir.resume import note_changes
from rollout.text.limits import is_own
from rollout.text.python_text import split_name

NO_COMMIT = "not a git checkout"
_PACKAGES = ("torch", "transformers", "verl", "ray", "diffusers", "wandb", "omegaconf", "vllm")
Sources = dict[str, dict[str, str]]
"""Section -> name -> what it is, with a digest."""


def sources_of(recipe: Recipe, judge: dict[str, str]) -> Sources:
    """Return judge, prompts, rewards and evidence with digests of their files. Raises ValueError where one is missing.

    `judge` is what `actors.judge.judge.check_judge` returned. What the modules of functions import is not in their
    digests; they are read, not run.
    """
    evidence: dict[str, str] = {}
    for name, config in recipe.evidence.items():
        evidence |= {f"{name}.{key}": what for key, what in describe_evidence(config).items()}
    file, _ = split_name(recipe.rollout.prompt)
    prompt = resolve_path(file).read_bytes()
    sources = {
        "judge": judge,
        "rollout": {"prompt": f"{recipe.rollout.prompt}@{hashlib.sha256(prompt).hexdigest()[:16]}"},
        "reward": {term.key: identity_of(term.fn) for term in recipe.reward.terms},
        "evidence": evidence,
    }
    # The built-in code that makes images and updates is identified by the recipe and the commit.
    algorithm = {"advantage": recipe.algorithm.advantage, "policy_loss": recipe.algorithm.loss.policy_loss}
    if own := {name: identity_of(path) for name, path in algorithm.items() if is_own(path)}:
        sources["algorithm"] = own
    if is_own(recipe.generator.kind):
        sources["generator"] = kind_of(recipe.generator).describe(recipe.generator, recipe.generator.model)
    return sources


def write_provenance(recipe: RunRecipe, more: Mapping[str, object] | None = None) -> None:
    """Write what the run can be explained by: resolved recipe, versions, commit, and `more`.

    `versions.json` is that of the newest start; `versions-<number>.json` stay, one for each start of the run.
    """
    run_dir = Path(recipe.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    versions: dict[str, object] = {package: _version(package) for package in _PACKAGES}
    versions |= {"interleave-thinker": __version__, "python": platform.python_version(), "commit": _commit()}
    versions["cpu_kernels"] = asked_of_cpus()
    versions["working_folder"] = str(Path.cwd())  # what the recipe's relative paths start from
    versions |= {**(more or {}), "changed": note_changes(recipe, more)}
    if not recipe.is_reproducible:
        versions["is_reproducible"] = False
    number = len(list(run_dir.glob("versions-*.json")))
    explained, again = json.dumps(versions, indent=1), to_yaml(recipe)
    atomic_write(run_dir / f"versions-{number}.json", explained)
    atomic_write(run_dir / "versions.json", explained)
    atomic_write(run_dir / "recipe.yaml", again)  # last: by it a job is known to have begun


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
