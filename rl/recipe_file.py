"""Recipe files: a YAML that may extend another, with overrides from the command line."""

from __future__ import annotations

import difflib
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from rewards.compose import TermConfig
from rl.config import REPO, Recipe


def load_recipe(path: Path | str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe with what it extends, apply `key=value` overrides and check it.

    Raises ValueError that says which key is wrong, what was given and what would be right.
    """
    tree = _read(Path(path))
    try:
        _override(tree, overrides or [])
        recipe = OmegaConf.to_object(OmegaConf.merge(_schema(), tree))
    except ConfigKeyError as error:
        raise ValueError(_unknown_key(error, path)) from None
    except MissingMandatoryValue as error:
        raise ValueError(f"{path}: {error.full_key} is not set") from None
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: {error.full_key or ''}: {str(error).splitlines()[0]}") from None
    assert isinstance(recipe, Recipe)
    return recipe


def differences(one: Recipe, other: Recipe) -> set[str]:
    """Return the top-level keys in which two recipes differ."""
    return {field.name for field in fields(Recipe) if getattr(one, field.name) != getattr(other, field.name)}


def to_yaml(recipe: Recipe) -> str:
    """Return the resolved recipe as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(recipe), resolve=True)


def _read(path: Path) -> DictConfig:
    if not path.exists():
        raise ValueError(f"recipe {path} does not exist; recipes are in {REPO / 'recipes'}")
    try:
        loaded = OmegaConf.load(path)
    except YAMLError as error:
        raise ValueError(f"recipe {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, DictConfig):
        raise ValueError(f"recipe {path}: expected a mapping of settings, found a {type(loaded).__name__}")
    parent = loaded.pop("extends", None)
    tree = _read(_parent(path, str(parent))) if parent else OmegaConf.create({})
    _put(tree, loaded, where=str(path))
    return tree


def _parent(path: Path, name: str) -> Path:
    """Return the recipe that `path` extends: beside it, or one of ours."""
    beside, ours = path.parent / name, REPO / "recipes" / name
    if path.resolve() == beside.resolve():
        raise ValueError(f"recipe {path} extends itself")
    return beside if beside.exists() or not ours.exists() else ours


def _put(tree: DictConfig, changes: DictConfig, *, where: str) -> None:
    """Merge `changes` into `tree`; `reward` may be the name of a set or a list of terms."""
    if changes.get("reward") is not None:
        changes["reward"] = _reward(changes["reward"], where)
    try:
        tree.merge_with(changes)
    except (OmegaConfBaseException, TypeError) as error:
        raise ValueError(f"{where}: {str(error).splitlines()[0]}") from None


def _reward(reward: Any, where: str) -> Any:
    if isinstance(reward, ListConfig):
        return {"terms": reward}
    if not isinstance(reward, str):
        return reward
    path = REPO / "recipes" / "reward" / f"{reward}.yaml"
    if not path.exists():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        raise ValueError(f"{where}: reward set {reward!r} is unknown; known are {', '.join(known)}")
    return OmegaConf.load(path)


def _override(tree: DictConfig, overrides: list[str]) -> None:
    """Set `key=value`s from the command line; a key may go into a list (`reward.terms.0.weight=0.9`)."""
    for override in overrides:
        key, is_pair, _ = override.partition("=")
        if not is_pair or not key:
            raise ValueError(f"override {override!r}: expected key=value, like rollout.n=8")
        value = OmegaConf.select(OmegaConf.from_dotlist([f"it={override.partition('=')[2]}"]), "it")
        if key == "reward":
            value = _reward(value, "command line")
        OmegaConf.update(tree, key, value, force_add=True)


def _schema() -> DictConfig:
    """Return the empty recipe, writable: OmegaConf makes frozen dataclasses read-only, each node by itself."""
    schema = OmegaConf.structured(Recipe)
    nodes = [schema]
    while nodes:
        node = nodes.pop()
        OmegaConf.set_readonly(node, False)
        nodes += [value for _, value in node.items_ex(resolve=False) if isinstance(value, DictConfig)]
    return schema


def _unknown_key(error: ConfigKeyError, path: Path | str) -> str:
    key = str(error.full_key)
    parent, _, last = key.rpartition(".")
    node = _schema()
    section = OmegaConf.select(node, parent) if parent else node
    siblings = list(section)
    if not parent:  # an item of a list: OmegaConf names it without its place
        siblings += [item.name for item in fields(TermConfig)]
    nearest = difflib.get_close_matches(last, siblings, n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{path}: unknown key {key}{hint}"
