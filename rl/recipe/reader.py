"""Recipe files: a YAML that may extend another and name a reward set, with overrides from the command line."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError

from actors.config import EvidenceConfig, JudgeConfig
from actors.judge.settings import GONE
from rewards.functions import anchored
from rl.recipe.config import NamedRecipe, Recipe
from rl.recipe.layers import Layer, layers_of, nearest, replaced_by_set, with_content, with_set

_COMMAND_LINE = "command line"
R = TypeVar("R")


def load_recipe(path: Path | str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe of RL (`load_as`)."""
    return load_as(Recipe, path, overrides)


def load_as(kind: type[R], path: Path | str, overrides: list[str] | None = None, *, without: Collection[str] = ()) -> R:
    """Read a recipe of some kind with what it extends, apply `key=value` overrides and check it.

    What is said later wins: extended recipe < reward set < the file that names the set (which may not contradict
    it) < `reward=...` of the command line < its other overrides. `without` names top-level keys to pass over.
    Raises ValueError that says which key is wrong, what was given and what would be right.
    """
    given = [_pair(override) for override in overrides or []]
    layers = layers_of(Path(path))
    for key, value in given:
        if key == "reward" and isinstance(value, str):
            layers = with_set(layers, value, _COMMAND_LINE, Path.cwd())
    tree = OmegaConf.create({})
    layers = [_passing_over(layer, without) for layer in layers]
    with _blamed(kind, layers), _explained(str(path)):
        for layer in layers:
            tree.merge_with(layer.content)
        for key, value in given:
            _override(tree, key, value)
        whole = OmegaConf.unsafe_merge(_schema(kind, tree), tree)  # both are ours: no copies
        assert isinstance(whole, DictConfig)
        _remember_set(kind, layers, whole)
        recipe = OmegaConf.to_object(whole)
    assert isinstance(recipe, kind)
    return recipe


def _passing_over(layer: Layer, keys: Collection[str]) -> Layer:
    kept = [str(key) for key in layer.content if key not in keys]
    return replace(layer, content=OmegaConf.masked_copy(layer.content, kept)) if keys else layer


def _remember_set(kind: type[R], layers: list[Layer], whole: DictConfig) -> None:
    """Write into the recipe what its reward set changed, so that another set can take its place."""
    if not any(set(layer.content) - {"reward"} for layer in layers if layer.is_set):
        return
    replaced = replaced_by_set(layers, whole, _empty(kind))
    if replaced:
        OmegaConf.update(whole, "reward.replaced", replaced, merge=False)


def differences(one: Recipe, other: Recipe) -> set[str]:
    """Return the top-level keys in which two recipes differ."""
    return {field.name for field in fields(Recipe) if getattr(one, field.name) != getattr(other, field.name)}


def to_yaml(recipe: NamedRecipe) -> str:
    """Return the resolved recipe as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(recipe), resolve=True)


def _pair(override: str) -> tuple[str, object]:
    key, is_pair, text = override.partition("=")
    if not is_pair or not key:
        raise ValueError(f"override {override!r}: expected key=value, like rollout.n=8")
    if "${" in text:  # resolved within the recipe: run_dir=runs/${name}-2
        return key, text
    try:
        return key, OmegaConf.select(OmegaConf.from_dotlist([f"it={text}"]), "it")
    except (YAMLError, RecursionError) as error:
        why = getattr(error, "problem", None) or str(error).splitlines()[0]
        shown = override if len(override) <= 80 else f"{override[:80]}..."
        raise ValueError(f"override {shown!r}: the value is not YAML ({why}); a text may stand in quotes") from None


def _override(tree: DictConfig, key: str, value: object) -> None:
    """Set one key from the command line; it may go into a list (`reward.terms.0.weight=0.9`)."""
    if key == "reward":
        if isinstance(value, str):
            return
        (layer,) = with_content([], OmegaConf.create({"reward": value}), _COMMAND_LINE, Path.cwd())
        value = layer.content["reward"]
    elif key.endswith(".fn") and isinstance(value, str):
        value = anchored(value, Path.cwd())
    with _explained(_COMMAND_LINE):
        OmegaConf.update(tree, key, value, force_add=True)


@contextmanager
def _blamed(kind: type[R], layers: list[Layer]) -> Iterator[None]:
    """Where a recipe is wrong, blame the first layer that is wrong by itself: each check takes as long as the whole."""
    try:
        yield
    except ValueError:
        for layer in layers:
            with _explained(layer.where):
                OmegaConf.unsafe_merge(_schema(kind, layer.content), layer.content)
        raise


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn OmegaConf's errors into one line that names the file, the key and the nearest right one."""
    try:
        yield
    except ConfigKeyError as error:
        known = [field.name for field in fields(error.object_type)] if error.object_type else []
        name = str(error.full_key).rpartition(".")[2]
        if error.object_type is JudgeConfig and name in GONE:
            raise ValueError(f"{where}: {error.full_key} is no setting any more: {GONE[name]}") from None
        hint = nearest(name, known)
        raise ValueError(f"{where}: unknown key {error.full_key}{hint}") from None
    except MissingMandatoryValue as error:
        raise ValueError(f"{where}: {error.full_key} is not set") from None
    except (OmegaConfBaseException, TypeError) as error:
        key = getattr(error, "full_key", None)
        raise ValueError(f"{where}: {f'{key}: ' if key else ''}{str(error).splitlines()[0]}") from None


def _schema(kind: type[Any], content: DictConfig) -> DictConfig:
    """Return a new empty recipe, with a place for each evidence that `content` names."""
    schema = _empty(kind)
    evidence = content.get("evidence")
    if kind is not Recipe or not isinstance(evidence, DictConfig):
        return schema
    for name, given in evidence.items_ex(resolve=False):
        has_judge = isinstance(given, DictConfig) and isinstance(given.get("judge"), DictConfig)
        schema.evidence[name] = EvidenceConfig(judge=JudgeConfig() if has_judge else None)
        _make_writable(schema.evidence[name])
    return schema


def _empty(kind: type) -> DictConfig:
    return pickle.loads(_pickled(kind))


@cache
def _pickled(kind: type) -> bytes:
    """Return the schema of a kind of recipe: it takes long to make, and by OmegaConf's own means to copy."""
    schema = OmegaConf.structured(kind)
    _make_writable(schema)
    return pickle.dumps(schema)


def _make_writable(node: DictConfig) -> None:
    """Undo what OmegaConf does to frozen dataclasses: each is read-only by itself."""
    OmegaConf.set_readonly(node, False)
    for _, value in node.items_ex(resolve=False):
        if isinstance(value, DictConfig) and not value._is_none():
            _make_writable(value)
