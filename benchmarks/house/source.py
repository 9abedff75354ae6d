"""The source in figures: statements, the longest functions and files, and what escapes the type checker."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LEFT_OUT = {"tests", "benchmarks"}
_IGNORE = re.compile(r"#\s*type:\s*ignore")


@dataclass(frozen=True)
class Size:
    """Something long, and where it stands."""

    num: int
    where: str


@dataclass
class Source:
    """Figures of our Python files, but for those of tests and benchmarks."""

    statements: Counter[str] = field(default_factory=Counter)
    """Of each package; `setup.py` is its own."""
    files: list[Size] = field(default_factory=list)
    functions: list[Size] = field(default_factory=list)
    parameters: list[Size] = field(default_factory=list)
    """How many each function has, without `self`."""
    escapes: Counter[str] = field(default_factory=Counter)
    """`type: ignore`, `cast` and `Any`."""

    @classmethod
    def of(cls, root: Path) -> Source:
        """Read all source files of a checkout."""
        source = cls()
        for path in source_files(root):
            source._add(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        return source

    def _add(self, name: str, text: str) -> None:
        tree = ast.parse(text)
        self.statements[name.partition("/")[0]] += _num_statements(tree)
        self.files.append(Size(len(text.splitlines()), name))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{name}:{node.lineno} {node.name}"
                self.functions.append(Size((node.end_lineno or node.lineno) - node.lineno + 1, where))
                self.parameters.append(Size(_num_parameters(node), where))
        self.escapes += _escapes(text)


def source_files(root: Path) -> Iterator[Path]:
    """Yield our Python files: those of the packages that lie in a checkout, and the few beside them."""
    yield from sorted(root.glob("*.py"))
    for package in sorted(path.parent for path in root.glob("*/__init__.py")):
        if package.name not in LEFT_OUT:
            yield from sorted(package.rglob("*.py"))


def is_counted(name: str) -> bool:
    """Whether a file, by its path in the repository, is one whose statements are counted."""
    return name.endswith(".py") and name.partition("/")[0] not in LEFT_OUT


def num_statements(text: str) -> int:
    """Return how many statements a source has.

    >>> num_statements("def double(x):\\n    '''Twice.'''\\n    return 2 * x\\n")
    3
    """
    return _num_statements(ast.parse(text))


def _num_statements(tree: ast.AST) -> int:
    return sum(isinstance(node, ast.stmt) for node in ast.walk(tree))


def _num_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    others = [other for other in (node.args.vararg, node.args.kwarg) if other is not None]
    return len(others) + len(named) - (named[:1] != [] and named[0].arg in ("self", "cls"))


def _escapes(text: str) -> Counter[str]:
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    names = Counter(token.string for token in tokens if token.type == tokenize.NAME)
    ignores = sum(bool(_IGNORE.search(token.string)) for token in tokens if token.type == tokenize.COMMENT)
    imported = {
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module == "typing"
        for alias in node.names
    }
    taken = {name: names[name] - 1 for name in ("Any", "cast") if name in imported}
    return Counter({"type: ignore": ignores, "cast": taken.get("cast", 0), "Any": taken.get("Any", 0)})
