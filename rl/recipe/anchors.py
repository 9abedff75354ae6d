"""Files that a recipe names from its own folder, made absolute: so they are found wherever the run goes on."""

from glob import glob
from os.path import abspath
from pathlib import Path
from typing import Any

from rewards.functions.import_path import anchored
from rl.recipe.tree import at

OWN_KEYS = frozenset({"kind", "policy_loss", "advantage", "backends", "metrics"})
"""Keys whose values may be paths of something of the user's own."""
FILE_KEYS = frozenset(
    {
        *("train", "heldout", "image_prefix", "image_root", "file", "prompt", "guidance_prompt"),
        *("semantics_rubric", "quality_rubric", "semantics_pair_rubric", "quality_pair_rubric"),
        *("questions_prompt", "answers_prompt"),
    }
)
"""Keys of files and folders that start at the recipe's own folder if they begin with a dot and are there."""


def anchor(content: dict[str, object], folder: Path) -> None:
    """Make the files of functions and classes absolute, so that they are found wherever the run goes on."""
    terms, evidence = at(content, "reward.terms"), content.get("evidence")
    of_evidence = evidence.values() if isinstance(evidence, dict) else []
    for item in [*(terms or []), *of_evidence, content.get("planner")]:
        if isinstance(item, dict) and isinstance(item.get("fn"), str):
            item["fn"] = anchored(item["fn"], folder)
    _anchor_own(content, folder)
    _anchor_files(content, folder)


def _anchor_own(tree: Any, folder: Path) -> None:
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key in OWN_KEYS:
            tree[key] = anchored_own(value, folder)
        elif isinstance(value, dict | list):
            _anchor_own(value, folder)


def _anchor_files(tree: Any, folder: Path) -> None:
    """Make the files that begin with a dot absolute where they are in `folder`."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list):
            _anchor_files(value, folder)
        elif key in FILE_KEYS and isinstance(value, str) and value.startswith(("./", "../")):
            file = value.rpartition(":")[0] if ".py:" in value else value
            if (folder / file).exists() or glob(str(folder / file)):
                tree[key] = abspath(folder / value)


def anchored_own(value: object, folder: Path) -> object:
    """Return the path of something of the user's own, or a list of such, with files in full."""
    if isinstance(value, list):
        return [anchored_own(item, folder) for item in value]
    return anchored(value, folder) if isinstance(value, str) else value
