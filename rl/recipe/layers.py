"""A recipe file as layers, the lowest first: what it extends, its reward set, what it says itself.

    critic_grpo.yaml  <  recipes/reward/gdpo.yaml  <  my_recipe.yaml (extends the first, names the second)

A reward set is a part of a recipe: `terms` and whatever else belongs to them. It lies under the file that
names it, which may say more but nothing else; a set that is chosen later takes the earlier one's place, with
all that it had set. A run's resolved recipe remembers what that was (`RewardConfig.replaced`).
"""

from __future__ import annotations

import copy
import difflib
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from yaml import YAMLError

from rewards.functions import anchored
from rl.recipe.config import REPO

_RECIPES = REPO / "recipes"
_SETS = _RECIPES / "reward"
_SECTIONS = ("algorithm", "rollout", "judge", "evidence")
"""What a reward set may hold beside its terms."""


@dataclass(frozen=True)
class Layer:
    """Some of a recipe's keys, and who sets them."""

    where: str
    content: DictConfig
    is_set: bool = False


def layers_of(path: Path) -> list[Layer]:
    """Return the layers of a recipe file. Raises ValueError that names the file that is wrong."""
    layers: list[Layer] = []
    for file, content in _chain(path, _RECIPES, "recipe"):
        layers = with_content(layers, content, str(file), file.parent)
    return layers


def with_content(layers: list[Layer], content: DictConfig, where: str, folder: Path) -> list[Layer]:
    """Put a file's content on top, over the reward set that it names; relative paths start at `folder`."""
    reward = content.get("reward")
    if isinstance(reward, str):
        del content["reward"]
        layers = with_set(layers, reward, where, folder)
        _check_agreement(content, _of_sets(layers), reward, where)
    elif isinstance(reward, ListConfig):
        content["reward"] = {"terms": reward}
    _anchor(content, folder)
    return [*layers, Layer(where, content)]


def with_set(layers: list[Layer], name: str, where: str, folder: Path) -> list[Layer]:
    """Put the reward set of this name, or in this file, on top; the set that was there goes."""
    chosen = [_without_set(layer) for layer in layers if not layer.is_set]
    for file, content in _chain(_set_path(name, where, folder), _SETS, "reward set"):
        chosen.append(Layer(str(file), _as_recipe(content, file), is_set=True))
    if not any(OmegaConf.select(layer.content, "reward.terms") for layer in chosen if layer.is_set):
        raise ValueError(f"reward set {name} has no terms; add `terms:`, a list of {{fn, weight}}")
    return chosen


def replaced_by_set(layers: list[Layer], recipe: DictConfig, defaults: DictConfig) -> dict[str, Any]:
    """Return what the reward set changed in a whole recipe, by dotted key: what it would be without the set.

    None stands for a key that would not be there. What another key overrode is none of the set's changes.
    """
    sets = _of_sets(layers)
    beneath = OmegaConf.merge(*(layer.content for layer in layers if not layer.is_set))
    with_sets = OmegaConf.merge(recipe, sets)
    replaced = {}
    for leaf, _ in _leaves(sets):
        key = ".".join(leaf.split(".")[:2]) if leaf.startswith("evidence.") else leaf
        said, without = OmegaConf.select(recipe, key), OmegaConf.select(beneath, key)
        if without is None:
            without = OmegaConf.select(defaults, key)
        if said == OmegaConf.select(with_sets, key) and said != without:
            is_tree = OmegaConf.is_config(without)
            replaced[key] = OmegaConf.to_container(without, resolve=True) if is_tree else without
    return replaced


def _without_set(layer: Layer) -> Layer:
    """Return a layer with what its resolved reward set had changed as it would be without it."""
    replaced = OmegaConf.select(layer.content, "reward.replaced")
    if not replaced:
        return layer
    content = copy.deepcopy(layer.content)
    del content["reward"]["replaced"]
    for key, value in replaced.items():
        parent, _, name = key.rpartition(".")
        if value is not None:
            OmegaConf.update(content, key, value, merge=False, force_add=True)
        elif OmegaConf.select(content, parent) is not None:
            OmegaConf.select(content, parent).pop(name, None)
    return Layer(layer.where, content)


def _check_agreement(content: DictConfig, sets: DictConfig, name: str, where: str) -> None:
    """Raise ValueError where a file itself says something else than the reward set that it names.

    A key that the set computes (`${rollout.max_tokens}`) may be said otherwise.
    """
    own = dict(_leaves(content))
    for key, theirs in _leaves(sets):
        if key in own and own[key] != theirs and "${" not in str(theirs):
            raise ValueError(
                f"{where}: {key} is {own[key]}, but {theirs} in the reward set {name} that the same file names: leave "
                f"{key} out to follow the set; to deviate from it, say {key} on the command line or in a recipe that "
                "extends this one"
            )


def _of_sets(layers: list[Layer]) -> DictConfig:
    """Return what the reward set says beside its terms."""
    merged = OmegaConf.merge(*(layer.content for layer in layers if layer.is_set))
    assert isinstance(merged, DictConfig)
    merged.pop("reward", None)
    return merged


def _leaves(tree: DictConfig | dict, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys with their values as they are written."""
    content: Any = tree if isinstance(tree, dict) else OmegaConf.to_container(tree, resolve=False)
    for name, value in content.items():
        path = f"{key}.{name}".lstrip(".")
        if isinstance(value, dict):
            yield from _leaves(value, path)
        else:
            yield path, value


def _chain(path: Path, ours: Path, kind: str, heirs: tuple[Path, ...] = ()) -> Iterable[tuple[Path, DictConfig]]:
    """Yield a file after the files that it extends, each with its content."""
    if not path.is_file():
        raise ValueError(f"{kind} {path} does not exist; ours are in {ours}")
    if path.resolve() in heirs:
        raise ValueError(f"{kind} {path} extends itself")
    try:
        content = pickle.loads(_loaded(path.absolute(), path.read_bytes()))
    except YAMLError as error:
        raise ValueError(f"{kind} {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, DictConfig):
        raise ValueError(f"{kind} {path}: expected a mapping of settings, found a {type(content).__name__}")
    parent = content.pop("extends", None)
    if parent is not None:
        beside = path.parent / str(parent)
        is_ours = not beside.exists() and (ours / str(parent)).exists()
        yield from _chain(ours / str(parent) if is_ours else beside, ours, kind, (*heirs, path.resolve()))
    yield path, content


@lru_cache(maxsize=64)
def _loaded(path: Path, said: bytes) -> bytes:
    """Return what a file says, `said` in bytes, pickled: parsing takes longest, and OmegaConf's own copies long."""
    return pickle.dumps(OmegaConf.load(path))


def _set_path(name: str, where: str, folder: Path) -> Path:
    if name.endswith((".yaml", ".yml")):
        beside = folder / name
        return beside if beside.exists() else Path(name).expanduser()
    path = _SETS / f"{name}.yaml"
    if not path.exists():
        known = sorted(file.stem for file in _SETS.glob("*.yaml"))
        raise ValueError(
            f"{where}: reward set {name!r} is unknown; known are {', '.join(known)}{nearest(name, known)} "
            "(a set of your own is named by its file: reward=./mine.yaml)"
        )
    return path


def _as_recipe(content: DictConfig, file: Path) -> DictConfig:
    for key in map(str, content):
        if key not in ("terms", *_SECTIONS):
            allowed = ("terms", *_SECTIONS)
            raise ValueError(f"{file}: a reward set may hold {', '.join(allowed)}, not {key}{nearest(key, allowed)}")
    if "terms" in content:
        content["reward"] = {"terms": content.pop("terms")}
    _anchor(content, file.parent)
    return content


def _anchor(content: DictConfig, folder: Path) -> None:
    """Make the files of functions absolute, so that they are found wherever the run goes on."""
    terms = OmegaConf.select(content, "reward.terms")
    evidence = content.get("evidence")
    of_evidence = evidence.values() if isinstance(evidence, DictConfig) else []
    named: list[Any] = [*(terms or []), *of_evidence, content.get("planner")]
    for item in named:
        if isinstance(item, DictConfig) and isinstance(item.get("fn"), str):
            item["fn"] = anchored(item["fn"], folder)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint at the known name that is most like this one, if one is.

    >>> nearest("weigth", ["fn", "weight"]), nearest("x", ["fn"])
    ('; did you mean weight?', '')
    """
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean {found[0]}?" if found else ""
