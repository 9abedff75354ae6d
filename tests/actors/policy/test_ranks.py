"""The ranks of a policy are started in a thread, beside others that start: it must not import.

Of two threads that import one package at once, where that package imports itself in a circle (fastapi does), one may
find a half of it: "partially initialized module". It is rare, so that a run would seldom show it.
"""

import ast

from tests.support.source_tree import REPO, import_nodes

POLICY = REPO / "actors" / "policy"


def test_the_thread_that_starts_ranks_imports_nothing():
    path = POLICY / "ranks.py"
    at_top = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    assert "actors.policy.worker" in {node.module for node in at_top}
    assert [node.lineno for node in import_nodes(path) if node.col_offset] == []


def test_what_starts_ranks_is_imported_before_anything_else_can_start():
    [start] = [
        node
        for node in ast.walk(ast.parse((POLICY / "policy.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.AsyncFunctionDef) and node.name == "start"
    ]
    [imported] = [node.lineno for node in ast.walk(start) if isinstance(node, ast.ImportFrom)]
    assert imported < min(node.lineno for node in ast.walk(start) if isinstance(node, ast.Await))
