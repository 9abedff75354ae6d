"""YAML files that are small and stand for much, and those that can be read but once."""

import os
from pathlib import Path

import pytest

from rl.recipe.yaml import read_yaml

ITEMS = "x1: &x1 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
KEYS = "x1: &x1 {a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1, j: 1}\n"


@pytest.mark.parametrize(("begin", "each"), [(ITEMS, "[{}]"), (KEYS, "{{<<: [{}]}}")])
def test_anchors_that_stand_for_more_than_memory_holds_are_refused_at_once(begin, each, tmp_path):
    lines = [f"x{depth}: &x{depth} " + each.format(", ".join([f"*x{depth - 1}"] * 10)) for depth in range(2, 12)]
    (tmp_path / "many.yaml").write_text(begin + "\n".join(lines))
    with pytest.raises(ValueError, match=r"many\.yaml: .*with all repetitions it holds more than 100,000 values"):
        read_yaml(tmp_path / "many.yaml", "recipe")


def test_an_anchor_may_be_used_again(tmp_path):
    (tmp_path / "some.yaml").write_text("a: &a {b: [c]}\nd: *a\ne: {<<: *a, f: g}\n")
    said = read_yaml(tmp_path / "some.yaml", "recipe")
    assert said == {"a": {"b": ["c"]}, "d": {"b": ["c"]}, "e": {"b": ["c"], "f": "g"}}


def test_what_comes_out_of_a_pipe_may_be_asked_for_twice():
    reader, writer = os.pipe()
    os.write(writer, b"name: piped\n")
    os.close(writer)
    try:
        for _ in range(2):
            assert read_yaml(Path(f"/dev/fd/{reader}"), "recipe") == {"name": "piped"}
    finally:
        os.close(reader)
