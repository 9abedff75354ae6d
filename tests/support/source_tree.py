"""Our source files, parsed: what the house rules look at."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PACKAGES = ("rl", "rollout", "rewards", "actors", "data", "evals", "recipes")


@cache
def modules(package: str) -> list[Path]:
    return sorted((REPO / package).rglob("*.py"))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


@cache
def import_nodes(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Return the imports of a file, wherever in it they stand."""
    text = path.read_text(encoding="utf-8")
    return tuple(node for node in statements(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom))


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield what stands by itself, at any depth: half as long as to look into expressions, which hold none."""
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        found = getattr(tree, field, [])
        for node in found if isinstance(found, list) else []:  # a lambda's body is an expression
            yield node
            yield from statements(node)


@cache
def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in import_nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names
