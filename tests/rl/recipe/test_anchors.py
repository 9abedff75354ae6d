"""Files that a recipe names with a dot start at its own folder."""

from pathlib import Path

import pytest

from rl.recipe.anchors import anchor
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe

FULL = REPO / "recipes/critic_grpo.yaml"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    for name in ("train.jsonl", "rubric.txt", "part-1.parquet"):
        (tmp_path / "mine" / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "mine"


def test_files_beside_the_recipe_are_found_from_anywhere(folder):
    said = "data: {train: ./train.jsonl, heldout: ./part-*.parquet}\njudge: {semantics_rubric: ./rubric.txt}\n"
    (folder / "mine.yaml").write_text(f"extends: {FULL}\n{said}store: ./train.jsonl\n")
    recipe = load_recipe("mine/mine.yaml")
    assert recipe.data.train == str(folder / "train.jsonl")
    assert recipe.data.heldout == str(folder / "part-*.parquet")
    assert recipe.judge.semantics_rubric == str(folder / "rubric.txt")
    assert recipe.store == "./train.jsonl"


def test_what_is_on_the_command_line_or_has_no_dot_or_is_not_there_starts_at_the_working_folder(folder):
    (folder / "mine.yaml").write_text(f"extends: {FULL}\ndata: {{train: train.jsonl, heldout: ./gone.jsonl}}\n")
    recipe = load_recipe("mine/mine.yaml", ["judge.semantics_rubric=./rubric.txt"])
    assert (recipe.data.train, recipe.data.heldout) == ("train.jsonl", "./gone.jsonl")
    assert recipe.judge.semantics_rubric == "./rubric.txt"


def test_a_text_in_a_python_file_is_found_beside_the_recipe_and_one_above(folder):
    (folder / "theirs.py").touch()
    content: dict[str, object] = {
        "rollout": {"prompt": "./theirs.py:CRITIC"},
        "data": {"train": "../mine/train.jsonl"},
    }
    anchor(content, Path("mine"))
    assert content == {
        "rollout": {"prompt": f"{folder}/theirs.py:CRITIC"},
        "data": {"train": f"{folder}/train.jsonl"},
    }
