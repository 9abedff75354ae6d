"""The table of the house: what meets its bar, what misses it, and the code that says so."""

import importlib
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.house.mends import Mend
from benchmarks.house.source import Size, Source
from benchmarks.house.walk import Walk

command = importlib.import_module("benchmarks.house.__main__")
SMALL = Source(
    Counter({"rl": 16_000, "data": 600}),
    files=[Size(299, "rl/a.py"), Size(10, "rl/b.py")],
    functions=[Size(60, "rl/a.py:1 f"), Size(2, "rl/a.py:70 g")],
    parameters=[Size(7, "rl/a.py:1 f")],
)


def walk(*entries):
    made = Walk(Path("rl"))
    made.entries = list(entries)
    return made


@pytest.fixture
def print_house(monkeypatch, capsys):
    def print_house(source=SMALL, mended=(), entries=("a", "b", "a"), arguments=()):
        monkeypatch.setattr(command.Source, "of", lambda root: source)
        monkeypatch.setattr(command, "mends", lambda root, ranges: mended)
        monkeypatch.setattr(command, "walk_to_first_rollout", lambda: walk(*entries))
        monkeypatch.setenv("COLUMNS", "200")
        return command.main(list(arguments)), capsys.readouterr().out

    return print_house


def test_what_the_mends_add_is_listed_apart(print_house):
    code, told = print_house(mended=[Mend("abc", "It stops in time", 200)])
    assert code == 0
    assert "missed" not in told
    lines = {line.strip().split("  ")[0]: line for line in told.splitlines()}
    assert "16,600" in lines["statements"]
    assert "It stops in time" in lines["abc"]
    assert "16,400" in lines["statements without the mends"]


def test_without_git_all_statements_count(print_house):
    code, told = print_house(mended=None)
    assert code == 1
    assert "this is no git checkout" in told


@pytest.mark.parametrize(
    ("source", "entries", "missed"),
    [
        (Source(**vars(SMALL) | {"functions": [Size(61, "rl/a.py:1 f")]}), "ab", "rl/a.py:1 f"),
        (Source(**vars(SMALL) | {"files": [Size(301, "rl/a.py")]}), "ab", "rl/a.py"),
        (Source(**vars(SMALL) | {"parameters": [Size(8, "rl/a.py:9 h")]}), "ab", "rl/a.py:9 h"),
        (Source(**vars(SMALL) | {"escapes": Counter({"type: ignore": 4})}), "ab", "`type: ignore`"),
        (SMALL, "abcdefghijklmnopqrstu", "files from the command"),
        (SMALL, "ab" * 9, "returns to a file"),
    ],
)
def test_a_bar_that_is_missed_is_named_and_ends_with_code_1(print_house, source, entries, missed):
    code, told = print_house(source, [Mend("abc", "It stops in time", 200)], tuple(entries))
    assert code == 1
    [line] = [line for line in told.splitlines() if "missed" in line]
    assert missed in line


def test_the_walk_is_printed_where_it_is_asked_for(print_house):
    assert "rl/cli/main.py" not in print_house(entries=("rl/cli/main.py",))[1]
    assert "rl/cli/main.py" in print_house(entries=("rl/cli/main.py",), arguments=["--walk"])[1]


def test_commits_that_are_none_end_with_code_2(monkeypatch, capsys):
    def unknown(root, ranges):
        raise ValueError("mends: git knows no A..B")

    monkeypatch.setattr(command, "mends", unknown)
    assert command.main(["--mends", "A..B"]) == 2
    assert capsys.readouterr().err == "benchmarks.house: mends: git knows no A..B\n"
