"""What is counted of the source, on a small house."""

import doctest

from benchmarks.house import source
from benchmarks.house.source import Size, Source

SHORT = "import os\n"
LONG = '''
from typing import Any, cast


class Box:
    """Two statements: this text and the method; `Any` in a text is none."""

    def open(self, a, /, b, *more, c=1, **others) -> Any:
        if a:
            return cast(Any, b)  # type: ignore[misc]  # Any in a comment is none, too
        return others


async def wait():
    pass
'''


def make(root):
    for name, text in {
        "setup.py": SHORT,
        "rl/__init__.py": "",
        "rl/deep/box.py": LONG,
        "tests/__init__.py": SHORT,
        "benchmarks/__init__.py": SHORT,
        "scratch/loose.py": SHORT,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Source.of(root)


def test_statements_are_counted_by_package_and_not_those_of_tests_and_benchmarks(tmp_path):
    assert make(tmp_path).statements == {"setup.py": 1, "rl": 9}


def test_the_longest_are_named(tmp_path):
    found = make(tmp_path)
    assert Size(4, "rl/deep/box.py:8 open") in found.functions
    assert Size(2, "rl/deep/box.py:14 wait") in found.functions
    assert max(found.files, key=lambda size: size.num) == Size(15, "rl/deep/box.py")


def test_parameters_are_all_but_self(tmp_path):
    assert {size.where.split()[1]: size.num for size in make(tmp_path).parameters} == {"open": 5, "wait": 0}


def test_escapes_are_counted_where_they_are_used(tmp_path):
    assert make(tmp_path).escapes == {"type: ignore": 1, "cast": 1, "Any": 2}


def test_the_examples_are_true():
    assert doctest.testmod(source).attempted == 1
    assert doctest.testmod(source).failed == 0
