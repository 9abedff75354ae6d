"""A recipe file as layers, the lowest first: what it extends, its reward set, what it says itself.

    critic_grpo.yaml  <  recipes/reward/gdpo.yaml  <  my_recipe.yaml (extends the first, names the second)

A reward set is a part of a recipe: `terms` and whatever else belongs to them. It lies under the file that
names it, which may say more but nothing else; a set that is chosen later takes the earlier one's place, with
all that it had set. A run's resolved recipe remembers what that was (`RewardConfig.replaced`).
"""

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from os.path import abspath
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from rl.recipe.anchors import anchor
from rl.recipe.coerce import Fitting
from rl.recipe.config import REPO, Recipe
from rl.recipe.kinds import check_kind
from rl.recipe.paths import resolve_path
from rl.recipe.tree import Tree, at, drop, merge, nothing_to_drop, put
from rl.recipe.yaml import Plain, read_yaml
from rollout.text.limits import hints_of, nearest, shown

_RECIPES = REPO / "recipes"
_SETS = _RECIPES / "reward"
_SECTIONS = ("algorithm", "rollout", "judge", "evidence")
"""What a reward set may hold beside its terms."""
COMMAND_LINE = "command line"
"""Who sets what is overridden."""
WHOLE = "# whole: what it extends, its reward set and all overrides are in it"
"""First line of a recipe that was written as it was read."""
_OF_WRITER = "reward.replaced"
"""A key that nobody sets, and that whole recipes of RL had before they had that line."""
_KEY = re.compile(r"[a-z_]\w*(?:\.[\w-]+)*")


@dataclass(frozen=True)
class Layer:
    """Some of a recipe's keys, and who sets them."""

    where: str
    content: Tree
    is_set: bool = False
    dropped: Sequence[str] = ()
    """Keys of the layers below that are not to be there."""
    is_whole: bool = False
    """It holds every key, set by a user or not."""


def recipe_path(path: Path | str) -> Path:
    """Return a recipe's file, or a bundle's folder: as given, from the working folder, or one of ours.

    Ours are found from anywhere by path or by name (`recipes/shapes_grpo.yaml`, `shapes_grpo`), in a checkout or where
    a wheel put them.
    """
    own = [resolve_path(str(path)), _RECIPES / f"{path}.yaml"]
    return next((found for found in own if found.exists()), Path(path).expanduser())


def layers_of(path: Path, kind: type | None = None, without: Collection[str] = ()) -> list[Layer]:
    """Return the layers of a recipe file, fitted to its kind. Raises ValueError that names the file that is wrong.

    `without` names top-level keys to pass over.
    """
    layers: list[Layer] = []
    chain = list(_chain(recipe_path(path), _RECIPES, "recipe"))
    if kind is not None:
        check_kind(kind, [key for _, said in chain for key in said if key not in without], str(chain[-1][0]))
    for file, said in chain:
        kept = {key: value for key, value in said.items() if key not in without}
        layers = with_content(layers, kept, Fitting(kind, str(file)), file.parent)
        is_whole = (
            file.read_bytes().startswith(WHOLE.encode())
            or at(kept, _OF_WRITER) is not None
            or (kind is not None and kept.keys() >= hints_of(kind).keys() - set(without))  # written before that line
        )
        layers[-1] = replace(layers[-1], is_whole=is_whole)
    return layers


def with_content(layers: list[Layer], said: Tree, fit: Fitting, folder: Path) -> list[Layer]:
    """Put what a file says on top, over the reward set that it names; relative paths start at `folder`."""
    name = None
    if fit.kind is None or "reward" in hints_of(fit.kind):
        reward = said.get("reward")
        if isinstance(reward, list):
            said = {**said, "reward": {"terms": reward}}
        elif isinstance(reward, str | Plain):
            name = reward.text if isinstance(reward, Plain) else reward
            said = {key: value for key, value in said.items() if key != "reward"}
    content = fit(said)
    if name is not None:
        layers = with_set(layers, name, fit.where, folder)
        _check_agreement(content, _of_sets(layers), name, fit.where)
    anchor(content, folder)
    return [*layers, Layer(fit.where, content, dropped=fit.dropped)]


def merged(layers: Iterable[Layer], *, is_strict: bool = False) -> Tree:
    """Return what layers say together. Strict: raises ValueError where one drops what the ones below do not set."""
    tree: Tree = {}
    for layer in layers:
        for key in layer.dropped:
            if not drop(tree, key) and is_strict:
                raise ValueError(f"{layer.where}: {nothing_to_drop(tree, key)}")
        merge(tree, layer.content)
    return tree


def with_set(layers: list[Layer], name: str, where: str, folder: Path) -> list[Layer]:
    """Put the reward set of this name, or in this file, on top; the set that was there goes."""
    chosen = [_without_set(layer) for layer in layers if not layer.is_set]
    path = _set_path(name, where, folder)
    for file, said in _chain(path, _SETS, "reward set", said_as=name, folders=(folder, Path())):
        fit = Fitting(Recipe, str(file))
        content = fit(_as_recipe(said, file))
        anchor(content, file.parent)
        chosen.append(Layer(str(file), content, is_set=True, dropped=fit.dropped))
    if not any(at(layer.content, "reward.terms") for layer in chosen if layer.is_set):
        raise ValueError(f"reward set {name} has no terms; add `terms:`, a list of {{fn, weight}}")
    return chosen


def replaced_by_set(layers: list[Layer], recipe: DictConfig, defaults: DictConfig) -> Tree:
    """Return what the reward set changed in a whole recipe, by dotted key: what it would be without the set.

    None stands for a key that would not be there. What another key overrode is none of the set's changes.
    """
    sets = OmegaConf.create(_of_sets(layers))
    beneath = OmegaConf.create(merged(layer for layer in layers if not layer.is_set))
    with_sets = OmegaConf.merge(recipe, sets)
    replaced = {}
    for leaf, _ in _leaves(_of_sets(layers)):
        key = ".".join(leaf.split(".")[:2]) if leaf.startswith("evidence.") else leaf
        said, without = OmegaConf.select(recipe, key), OmegaConf.select(beneath, key)
        if without is None:
            without = OmegaConf.select(defaults, key)
        if said == OmegaConf.select(with_sets, key) and said != without:
            is_tree = OmegaConf.is_config(without)
            replaced[key] = OmegaConf.to_container(without, resolve=True) if is_tree else without
    return replaced


def who_says(layers: Sequence[Layer], message: str) -> str:
    """Return who sets the first key that a message begins with, or names with its section; empty where nobody does."""
    first, *others = _KEY.findall(message) or [""]
    for key in (first, *(other for other in others if "." in other)):
        for layer in reversed(layers):
            if at(layer.content, key) is not None:
                return layer.where
    return ""


def other_that_says(layers: Sequence[Layer], message: str, who: str) -> str:
    """Return which reward set, or the command line, says a `key=value` that a message names, as the end of it.

    Empty where none does, and for the command line where it is `who` the message begins with.
    """
    for layer in layers:
        is_other_line = layer.where == COMMAND_LINE != who
        for key, value in _leaves(layer.content) if layer.is_set or is_other_line else ():
            if f"{key}={value}" in message:
                file = Path(layer.where)
                said = "the command line" if is_other_line else f"reward={file.stem if file.parent == _SETS else file}"
                return f"; {said} sets {key}"
    return ""


def _without_set(layer: Layer) -> Layer:
    """Return a layer with what its resolved reward set had changed as it would be without it."""
    replaced = at(layer.content, "reward.replaced")
    if not replaced:
        return layer
    content = copy.deepcopy(layer.content)
    del content["reward"]["replaced"]
    for key, value in replaced.items():
        drop(content, key)
        if value is not None:
            put(content, key, value)
    return replace(layer, content=content)


def _check_agreement(content: Tree, sets: Tree, name: str, where: str) -> None:
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


def _of_sets(layers: list[Layer]) -> Tree:
    """Return what the reward set says beside its terms."""
    said = merged(layer for layer in layers if layer.is_set)
    said.pop("reward", None)
    return said


def _leaves(tree: Tree, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield dotted keys with their values as they are written."""
    for name, value in tree.items():
        path = f"{key}.{name}".lstrip(".")
        if isinstance(value, dict):
            yield from _leaves(value, path)
        else:
            yield path, value


def _chain(
    path: Path, ours: Path, what: str, heirs: tuple[Path, ...] = (), *, said_as: str = "", folders: Sequence[Path] = ()
) -> Iterable[tuple[Path, Tree]]:
    """Yield a file after the files that it extends, each with what it says.

    A message has it `said_as` its user did, and the `folders` in which it was looked for.
    """
    if not path.exists():
        places = dict.fromkeys(abspath(folder / path) for folder in folders or [Path()])
        looked = "" if path.is_absolute() and not folders else f" (looked for {' and '.join(places)})"
        by = f" ({heirs[-1]} extends it)" if heirs else ""
        close = get_close_matches(path.stem, [file.stem for file in ours.glob("*.yaml")], n=1, cutoff=0.8)
        # Sets of ours go by name alone.
        meant = [one if ours == _SETS else f"{ours.name}/{one}.yaml" for one in close]
        hint = f"; did you mean {meant[0]}?" if meant else ""
        named = said_as or path
        raise ValueError(f"{what} {named} does not exist; the built-in ones are in {ours}{looked}{by}{hint}")
    if path.resolve() in [heir.resolve() for heir in heirs]:
        chain = " -> ".join(file.name for file in (*heirs, path))
        raise ValueError(f"{what} {path} extends itself: {chain}")
    said = read_yaml(path, what)
    parent = said.pop("extends", None)
    if isinstance(parent, Plain):
        parent = parent.text if parent.value is not None else None
    if parent is not None:
        if not isinstance(parent, str) or not parent:
            raise ValueError(f"{what} {path}: extends is {shown(parent)}; expected one file, like critic_grpo.yaml")
        named = Path(parent).expanduser()
        beside = path.parent / named
        candidates = (beside, ours / named, ours / f"{named}.yaml", REPO / named)
        yield from _chain(next((one for one in candidates if one.exists()), beside), ours, what, (*heirs, path))
    yield path, said


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


def _as_recipe(said: Tree, file: Path) -> Tree:
    allowed = ("terms", *_SECTIONS)
    for key in said:
        if key not in allowed:
            raise ValueError(f"{file}: a reward set may hold {', '.join(allowed)}, not {key}{nearest(key, allowed)}")
    parts = {key: value for key, value in said.items() if key != "terms"}
    return {**parts, "reward": {"terms": said["terms"]}} if "terms" in said else parts
