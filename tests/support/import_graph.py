"""Who imports whom among the files of a tree, late or for a type alone too, and which imports go in a circle."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.source_tree import import_nodes

Graph = dict[str, set[str]]
"""A file, by its path below the root -> those that it imports."""


def import_graph(root: Path, packages: Iterable[str]) -> Graph:
    """Return the imports among the files of `packages`, wherever in a file they stand."""
    paths = [path for package in packages for path in sorted((root / package).rglob("*.py"))]
    files = {_module(path.relative_to(root)): path.relative_to(root).as_posix() for path in paths}
    return {
        file: {files[name] for name in _imported(root / file, files) if name in files} - {file}
        for file in files.values()
    }


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imported(path: Path, modules: Iterable[str]) -> Iterator[str]:
    for node in import_nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        else:
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module or "" for name in named)


def neighbours(file: str, other: str) -> tuple[str, str]:
    """Return what holds the one and not the other, in the deepest folder that holds both: a file of it, or a folder.

    >>> neighbours("actors/judge/kinds/vllm.py", "actors/judge/judge.py"), neighbours("rl/run.py", "actors/pool.py")
    (('actors/judge/kinds', 'actors/judge/judge.py'), ('rl', 'actors'))
    """
    here, there = file.split("/"), other.split("/")
    depth = next(place for place, (one, two) in enumerate(zip(here, there, strict=False), 1) if one != two)
    return "/".join(here[:depth]), "/".join(there[:depth])


def rooms(graph: Graph) -> Graph:
    """Return who imports whom among neighbours: what stands in a folder, files as they are and folders as a whole."""
    found: Graph = {}
    for file, others in graph.items():
        for here, there in (neighbours(file, other) for other in others):
            found.setdefault(here, set()).add(there)
            found.setdefault(there, set())
    return found


def circular(graph: Graph) -> list[tuple[str, str]]:
    """Return the arrows that are part of a circle: from where they lead, one comes back to where they start.

    >>> circular({"a": {"b"}, "b": {"c"}, "c": {"b"}})
    [('b', 'c'), ('c', 'b')]
    """
    beyond = {node: _reached(graph, node) for node in graph}
    return [(here, there) for here in sorted(graph) for there in sorted(graph[here]) if here in beyond[there]]


def _reached(graph: Graph, start: str) -> set[str]:
    reached, left = set[str](), [start]
    while left:
        new = graph.get(left.pop(), set()) - reached
        reached |= new
        left += new
    return reached
