"""The house rules of tests: each stands where its module does, and shares what it needs through `tests/support`."""

import ast
import subprocess
from pathlib import Path

import pytest

from tests.support.source_tree import REPO, import_nodes, modules

TESTS = REPO / "tests"


def is_test(module: str) -> bool:
    """Whether the dotted name is that of a module of tests, or of something in one."""
    return module.startswith("tests.") and any(part.startswith("test_") for part in module.split("."))


def imported(path: Path) -> set[str]:
    """Return the dotted names of what a file imports, with what it takes from each module."""
    names = set()
    for node in import_nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        else:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def subjects(test: Path) -> list[Path]:
    """Return what `test_c_d.py` may be about: `c_d` and `c`, in the folder that its own one mirrors."""
    folder, words = REPO / test.relative_to(TESTS).parent, test.stem.split("_")[1:]
    return [folder / "_".join(words[:size]) for size in range(len(words), 0, -1)]


def test_nothing_imports_a_test():
    breaches = [
        f"{path.relative_to(REPO)} imports {name}: what tests share belongs in tests/support"
        for folder in ("tests", "benchmarks")
        for path in modules(folder)
        for name in sorted(imported(path))
        if is_test(name)
    ]
    assert breaches == []


def test_tests_mirror_the_tree():
    strays = [
        str(test.relative_to(REPO))
        for test in TESTS.rglob("test_*.py")
        if test.parent != TESTS
        and not any(path.is_dir() or path.with_suffix(".py").is_file() for path in subjects(test))
    ]
    assert strays == []


def test_every_folder_of_tests_is_a_package():
    folders = {path.parent for path in TESTS.rglob("test_*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_files_of_slow_tests_have_no_other_tests():
    """They are not even read where fast tests alone are wanted (`tests/conftest.py`)."""
    strays = [
        f"{path.relative_to(REPO)}: {node.name}"
        for path in TESTS.rglob("test_*_slow.py")
        if not any(is_slow(mark) for mark in module_marks(path))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if not any(is_slow(mark) for mark in node.decorator_list)
    ]
    assert strays == []


def module_marks(path: Path) -> list[ast.expr]:
    """Return what a module gives to `pytestmark`."""
    return [
        node.value
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    ]


def is_slow(mark: ast.expr) -> bool:
    """Whether an expression, or one in a list of them, is `pytest.mark.slow`."""
    marks = mark.elts if isinstance(mark, ast.List) else [mark]
    return any(ast.unparse(one) == "pytest.mark.slow" for one in marks)


@pytest.mark.parametrize(
    ("targets", "mark"),
    [
        (["fast-rl", "fast-actors", "fast-rest"], '-m "not slow"'),
        (["slow-models", "slow-rest"], "-m slow --durations=8"),
    ],
)
def test_make_runs_each_file_of_tests_once(targets, mark):
    command = ["make", "--no-print-directory", "-n", *targets]
    said = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if mark in line]
    named = [REPO / name for line in lines for name in line.partition(mark)[2].partition("|")[0].split()]
    run = [path for one in named for path in (one.rglob("test_*.py") if one.is_dir() else [one])]
    assert len(lines) == len(targets)
    assert sorted(run) == sorted(TESTS.rglob("test_*.py"))
