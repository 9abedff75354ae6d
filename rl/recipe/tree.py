"""Dotted keys of plain nested mappings and lists, as recipes are before they are held against their schema."""

import copy
from collections.abc import Sequence
from typing import Any

from rollout.text.limits import nearest

Tree = dict[str, Any]
"""What a recipe's file says: texts, numbers, lists and further trees by their keys."""

_NOTHING = object()


def at(tree: object, key: str) -> Any:
    """Return what stands at a dotted key; None where there is nothing, the tree itself for an empty key.

    >>> at({"a": [{"b": 1}]}, "a.0.b"), at({"a": 1}, "a.b")
    (1, None)
    """
    for name in key.split(".") if key else ():
        if isinstance(tree, list) and name.isdigit() and int(name) < len(tree):
            tree = tree[int(name)]
        else:
            tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def merge(tree: Tree, content: Tree) -> None:
    """Put some keys over those of a tree: mappings are merged, all else is replaced."""
    for name, value in content.items():
        if isinstance(value, dict) and isinstance(tree.get(name), dict):
            merge(tree[name], value)
        else:
            tree[name] = copy.deepcopy(value)


def put(tree: Tree, key: str, value: object) -> None:
    """Set a dotted key, over what stands there; it may go into a list. Raises ValueError for an item that is not there.

    >>> tree = {"a": [{"b": 1}]}
    >>> put(tree, "a.0.b", 2)
    >>> put(tree, "c.d", 3)
    >>> tree
    {'a': [{'b': 2}], 'c': {'d': 3}}
    """
    *path, last = key.split(".")
    place: Any = tree
    for depth, name in enumerate(path):
        if isinstance(place, dict) and not isinstance(place.get(name), dict | list):
            place[name] = {}
        place = place[_index(place, name, path[:depth])]
    if isinstance(place, dict):
        merge(place, {last: value})
    else:
        place[_index(place, last, path)] = value


def drop(tree: Tree, key: str) -> bool:
    """Remove a dotted key from a tree; return whether it was there."""
    parent, _, name = key.rpartition(".")
    holder = at(tree, parent)
    if isinstance(holder, list) and name.isdigit() and int(name) < len(holder):
        del holder[int(name)]
        return True
    return isinstance(holder, dict) and holder.pop(name, _NOTHING) is not _NOTHING


def nothing_to_drop(tree: Tree, key: str) -> str:
    """Say that a key to drop is not there."""
    parent, _, name = key.rpartition(".")
    holder = at(tree, parent)
    hint = nearest(name, holder) if isinstance(holder, dict) else ""
    return f"there is no {key} to drop: no recipe below sets it{hint}"


def _index(place: Any, name: str, path: Sequence[str]) -> object:
    if isinstance(place, dict):
        return name
    if not name.isdigit() or int(name) >= len(place):
        raise ValueError(f"{'.'.join([*path, name])}: {'.'.join(path)} has {len(place)} items, counted from 0")
    return int(name)
