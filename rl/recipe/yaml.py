"""YAML as it is written: what a plain scalar means depends on the field that it is for (`rl/recipe/coerce.py`)."""

import pickle
from enum import Enum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from omegaconf._utils import get_omega_conf_dumper, get_yaml_loader
from yaml.constructor import ConstructorError
from yaml.error import MarkedYAMLError, YAMLError

_MERGE = "tag:yaml.org,2002:merge"
_MAX_VALUES = 100_000
"""A few lines of anchors, each of which repeats the one before, stand for more values than memory holds."""
_TOO_MANY = f"anchors repeat what they stand for; with all repetitions it holds more than {_MAX_VALUES:,} values"


class Plain(NamedTuple):
    """A scalar without quotes that YAML takes for something other than text: 4_1, on, 1e3, null."""

    text: str
    value: Any


class Delete(Enum):
    """`key: !delete` drops a key that an extended recipe sets."""

    DELETE = "!delete"


class _Loader(get_yaml_loader()):  # type: ignore[misc]  # made at run time
    """OmegaConf's reading of numbers, with the text of each kept; a key is text and stands once in its mapping."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        value = super().construct_object(node, deep=deep)
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return Plain(node.value, value) if is_plain and not isinstance(value, str | Delete | Plain) else value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, object]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key is a list or a mapping; expected text", key.start_mark)
            if key.tag != _MERGE and key.value in lines:
                twice = f"the key {key.value} is given twice, first in line {lines[key.value]}"
                raise ConstructorError(None, None, twice, key.start_mark)
            lines[key.value] = key.start_mark.line + 1
        self.flatten_mapping(node)
        # Deep: in the order of the document, so that an anchor is whole before `<<` takes its keys.
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MAX_VALUES:
            raise ConstructorError(None, None, _TOO_MANY, node.start_mark)


_Loader.add_constructor(Delete.DELETE.value, lambda loader, node: Delete.DELETE)


class _Dumper(get_omega_conf_dumper()):  # type: ignore[misc]  # made at run time
    """OmegaConf's writing, of tuples too: as lists."""


_Dumper.add_representer(tuple, _Dumper.represent_list)


def write_yaml(content: dict[str, object]) -> str:
    """Return plain values as YAML, in their order."""
    text: str = yaml.dump(content, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False)
    return text


def parse_yaml(text: str, where: str) -> object:
    """Return what a YAML text says. Raises ValueError with the line and the column of what is wrong."""
    try:
        said = yaml.load(text, Loader=_Loader)
        if _num_values(said, {}) > _MAX_VALUES:
            raise ValueError(f"{where}: {_TOO_MANY}")
        return said
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        kind = "" if isinstance(error, ConstructorError) else " is not YAML"
        raise ValueError(f"{where}{kind}: {place}{error.problem or error.context}") from None
    except YAMLError as error:
        raise ValueError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError(f"{where} is not YAML: it is nested too deeply") from None


def _num_values(said: object, known: dict[int, int]) -> int:
    """Return how many values there are, each as often as it is repeated; `known` has those of what was counted."""
    if not isinstance(said, dict | list):
        return 1
    if id(said) not in known:
        known[id(said)] = 1 + sum(
            _num_values(one, known) for one in (said.values() if isinstance(said, dict) else said)
        )
    return known[id(said)]


def read_yaml(path: Path, what: str) -> dict[str, object]:
    """Return the mapping in a file. Raises ValueError that names it."""
    if path.is_dir():
        raise ValueError(f"{what} {path} is a folder; expected a YAML file")
    content = pickle.loads(_parsed(path.read_bytes() if path.is_file() else _piped(path), f"{what} {path}"))
    if content is None:
        raise ValueError(f"{what} {path} is empty; expected settings like `name: mine`")
    if not isinstance(content, dict):
        found = "list" if isinstance(content, list) else "single value"
        raise ValueError(f"{what} {path}: expected a mapping of settings, found a {found}")
    return content


@cache
def _piped(path: Path) -> bytes:
    """Return what comes out of a pipe, which can be read but once: `interleave plan <(make_recipe)`."""
    return path.read_bytes()


@lru_cache(maxsize=64)
def _parsed(said: bytes, where: str) -> bytes:
    """Return what a file says, pickled: parsing takes longest of all that is done with a recipe."""
    try:
        text = said.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not text in UTF-8: byte {error.start} is 0x{said[error.start]:02x}") from None
    content = parse_yaml(text, where)
    return pickle.dumps(None if isinstance(content, Plain) and content.value is None else content)
