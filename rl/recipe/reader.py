"""Recipe files: a YAML that may extend another and name a reward set, with overrides from the command line."""

import pickle
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue, OmegaConfBaseException

from actors.config import EvidenceConfig, JudgeConfig
from rl.recipe.anchors import OWN_KEYS, anchored_own
from rl.recipe.coerce import Fitting
from rl.recipe.config import Recipe
from rl.recipe.jobs import JobRecipe
from rl.recipe.layers import (
    COMMAND_LINE,
    WHOLE,
    Layer,
    layers_of,
    merged,
    other_that_says,
    replaced_by_set,
    who_says,
    with_content,
    with_set,
)
from rl.recipe.tree import at, drop, nothing_to_drop, put
from rl.recipe.unused import check_used
from rl.recipe.yaml import parse_yaml, write_yaml
from rollout.text.limits import check_value, shown

R = TypeVar("R")


def load_recipe(path: Path | str, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe of RL (`load_as`)."""
    return load_as(Recipe, path, overrides)


def load_as(kind: type[R], path: Path | str, overrides: list[str] | None = None, *, without: Collection[str] = ()) -> R:
    """Read a recipe of some kind with what it extends, apply overrides (`key=value`, `~key` to drop) and check it.

    What is said later wins: extended recipe < reward set < the file that names the set (which may not contradict
    it) < `reward=...` of the command line < its other overrides. `without` names top-level keys to pass over.
    Raises ValueError that says which key is wrong, what was given and what would be right.
    """
    layers = layers_of(Path(path), kind, without)  # first: a recipe of another kind has other keys to override, too
    given = [_override(kind, text) for text in overrides or []]
    for override in given:
        if override.reward_set:
            layers = with_set(layers, override.reward_set, COMMAND_LINE, Path.cwd())
    tree = merged(layers, is_strict=True)
    for override in given:
        override.apply(tree, kind)
    everything = [*layers, *(override.as_layer() for override in given)]
    with _explained(str(path), tree, everything):
        whole = _merged(kind, tree)
        assert isinstance(whole, DictConfig)
        _remember_set(kind, layers, whole)
        resolved = OmegaConf.to_container(whole, resolve=True, throw_on_missing=True)
        _check_resolved(resolved)
        check_value(resolved, kind, "")
        recipe = OmegaConf.to_object(whole)
        check_used(recipe, everything)
    assert isinstance(recipe, kind)
    return recipe


def _remember_set(kind: type[R], layers: list[Layer], whole: DictConfig) -> None:
    """Write into the recipe what its reward set changed, so that another set can take its place."""
    if not any(set(layer.content) - {"reward"} for layer in layers if layer.is_set):
        return
    replaced = replaced_by_set(layers, whole, _empty(kind))
    if replaced:
        OmegaConf.update(whole, "reward.replaced", replaced, merge=False)


def texts_of(kind: type, overrides: Sequence[str]) -> set[str]:
    """Return the texts that overrides say, with those of the reward sets that they name and with files in full."""
    said: list[object] = []
    for override in (_override(kind, text) for text in overrides):
        chosen = with_set([], override.reward_set, COMMAND_LINE, Path.cwd()) if override.reward_set else []
        said += [override.value, *(layer.content for layer in chosen)]
    return set(_texts(said))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def differences(one: Recipe, other: Recipe) -> set[str]:
    """Return the top-level keys in which two recipes differ."""
    return {field.name for field in fields(Recipe) if getattr(one, field.name) != getattr(other, field.name)}


def to_yaml(recipe: JobRecipe) -> str:
    """Return the resolved recipe as YAML, as OmegaConf writes it; it would take three times as long."""
    return f"{WHOLE}\n{write_yaml(asdict(recipe))}"


@dataclass(frozen=True)
class _Override:
    """One argument of the command line: a key and its value, or a key to drop."""

    key: str
    value: object = None
    dropped: tuple[str, ...] = ()
    reward_set: str = ""

    def apply(self, tree: dict[str, object], kind: type) -> None:
        """Change a recipe's tree. Raises ValueError for what is not there."""
        for key in self.dropped:
            if not drop(tree, key):
                raise ValueError(f"{COMMAND_LINE}: {nothing_to_drop(tree, key)}")
        if self.reward_set or self.dropped == (self.key,):
            return
        in_list = re.match(r"(.+?)\.\d+(?:\.|$)", self.key)
        if in_list and at(tree, in_list[1]) is None:  # the list is the kind's own
            put(tree, in_list[1], at(OmegaConf.to_container(_empty(kind)), in_list[1]) or [])
        try:
            put(tree, self.key, self.value)
        except ValueError as error:
            raise ValueError(f"{COMMAND_LINE}: {error}") from None

    def as_layer(self) -> Layer:
        """Return what is said as a layer, which lies on top of a recipe's."""
        content: dict[str, object] = {}
        if self.value is not None:
            put(content, self.key, self.value)
        return Layer(COMMAND_LINE, content)


def _override(kind: type, text: str) -> _Override:
    """Read `key=value` or `~key`. Raises ValueError."""
    fit = Fitting(kind, COMMAND_LINE)
    key, is_pair, value = text.partition("=")
    key = re.sub(r"\[(\w+)\]", r".\1", key)
    if text.startswith("~") and not is_pair:
        fit.hint_at(key[1:])
        return _Override(key[1:], dropped=(key[1:],))
    if not is_pair or not key or text.startswith("~"):
        raise ValueError(f"override {text!r}: expected key=value, like rollout.n=8, or ~key to drop a key")
    if key == "reward" and kind is Recipe:
        if not value.startswith(("[", "{")):
            if not (name := value.strip("'\" ")):
                raise ValueError(f"{COMMAND_LINE}: reward is empty; expected a set like released, or a list of terms")
            return _Override(key, reward_set=name)
        (layer,) = with_content([], {key: parse_yaml(value, f"{COMMAND_LINE}: reward")}, fit, Path.cwd())
        return _Override(key, layer.content[key], tuple(fit.dropped))
    said = fit.parse(value, key)
    if key.rpartition(".")[2] in {"fn", *OWN_KEYS}:
        said = anchored_own(said, Path.cwd())
    return _Override(key, said, tuple(fit.dropped))


@contextmanager
def _explained(where: str, tree: dict[str, object], layers: Sequence[Layer]) -> Iterator[None]:
    """Turn errors into one line: who says so, the key, what was given and what is wrong with it.

    To an error of ours it adds which reward set or override sets what does not fit: it may be all that the user named.
    """
    try:
        yield
    except MissingMandatoryValue as error:
        raise ValueError(f"{where}: {error.full_key} is not set") from None
    except (OmegaConfBaseException, TypeError, RecursionError) as error:
        key = getattr(error, "full_key", None) or ""
        given, where = at(tree, key), who_says(layers, key) or where
        if isinstance(error, InterpolationResolutionError | RecursionError) or "${" in str(given):
            reason = str(error).splitlines()[0].rpartition(": ")[2].removeprefix("Interpolation ").strip()
            reason = "it refers to itself" if isinstance(error, RecursionError) else reason
            raise ValueError(
                f"{where}: {key or 'a reference'} is {shown(given)}, which cannot be read: {reason}"
            ) from None
        raise ValueError(f"{where}: {key} is {shown(given)}; {str(error).splitlines()[0]}") from None
    except ValueError as error:
        said, who = str(error), who_says(layers, str(error)) or where
        raise ValueError(f"{who}: {said}{other_that_says(layers, said, who)}") from None


def _check_resolved(value: object, key: str = "") -> None:
    """Raise ValueError for a text that would be a reference when the resolved recipe is read again."""
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_resolved(item, f"{key}.{name}".lstrip("."))
    elif isinstance(value, str) and "${" in value:
        raise ValueError(f"{key} is {shown(value)}; expected text without ${{, which begins a reference")


def _schema(kind: type[object], content: dict[str, object]) -> DictConfig:
    """Return a new empty recipe, with a place for each evidence that `content` names."""
    schema = _empty(kind)
    evidence = content.get("evidence")
    if kind is not Recipe or not isinstance(evidence, dict):
        return schema
    for name, given in evidence.items():
        has_judge = isinstance(given, dict) and isinstance(given.get("judge"), dict)
        schema.evidence[name] = EvidenceConfig(judge=JudgeConfig() if has_judge else None)
        _make_writable(schema.evidence[name])
    return schema


def _merged(kind: type, tree: dict[str, object]) -> object:
    return OmegaConf.unsafe_merge(_schema(kind, tree), _beyond(tree, _defaults(kind)))  # both are ours: no copies


def _beyond(tree: dict[str, object], defaults: object) -> dict[str, object]:
    """Return what a tree says beyond the defaults: to merge takes long, and a resolved recipe is mostly defaults.

    >>> _beyond({"a": 1, "b": {"c": 2, "d": True}, "e": {}}, {"a": 1, "b": {"c": 2, "d": 1}, "e": None})
    {'b': {'d': True}, 'e': {}}
    """
    if not isinstance(defaults, dict):
        return tree
    return {
        key: _beyond(value, defaults.get(key)) if isinstance(value, dict) else value
        for key, value in tree.items()
        if key not in defaults or repr(value) != repr(defaults[key])  # True is not 1 here
    }


@cache
def _defaults(kind: type) -> object:
    return OmegaConf.to_container(_empty(kind))


def _empty(kind: type) -> DictConfig:
    schema: DictConfig = pickle.loads(_pickled(kind))
    return schema


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
