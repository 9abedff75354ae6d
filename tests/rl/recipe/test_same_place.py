"""One place may be written in several ways."""

import pytest

from rl.recipe.config import REPO, Recipe
from rl.recipe.same_place import is_path, is_same_place, is_same_source, leads_elsewhere


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("runs/../runs/one", "runs/one", True),
        ("./runs/one/", "runs/one", True),
        ("linked/one", "runs/one", True),
        ("recipes/story.yaml", str(REPO / "recipes/story.yaml"), True),
        ("mine.yaml", str(REPO / "mine.yaml"), False),
        ("runs/one", "runs/two", False),
        ("s3://bucket/runs/", "s3://bucket/runs", True),
        ("s3://bucket/runs", "s3:/bucket/runs", False),
        ("", ".", False),
        (None, "runs/one", False),
    ],
)
def test_paths_are_compared_by_where_they_lead(tmp_path, monkeypatch, old, new, is_same):
    (tmp_path / "runs/one").mkdir(parents=True)
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "linked").symlink_to("runs")
    monkeypatch.chdir(tmp_path)
    assert is_same_place(old, new) == is_same_place(new, old) == is_same


def test_an_earlier_relative_path_starts_where_its_command_ran(tmp_path, monkeypatch):
    (tmp_path / "before/runs/store").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert is_same_place("runs/store", str(tmp_path / "before/runs/store"), tmp_path / "before")
    assert not is_same_place("runs/store", str(tmp_path / "before/runs/store"))


def test_the_same_text_may_lead_elsewhere(tmp_path, monkeypatch):
    before = tmp_path / "before"
    for folder in (tmp_path, before):
        (folder / "store").mkdir(parents=True)
        (folder / "same.jsonl").write_text("a")
        (folder / "other.jsonl").write_text(str(folder))
    (before / "gone.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    assert leads_elsewhere("store", "store", before)
    assert leads_elsewhere("data.train", "other.jsonl", before)
    passed = ["same.jsonl", "gone.jsonl", str(tmp_path / "other.jsonl"), "recipes/story.yaml", ""]
    assert not any(leads_elsewhere("data.train", text, before) for text in passed)
    assert not any(leads_elsewhere("store", text, before) for text in ("none", "s3://bucket/runs", str(tmp_path)))


def test_a_store_of_the_checkout_is_none_of_a_run_elsewhere(tmp_path, monkeypatch):
    # "recipes" stands for a store that is in the checkout as well: a run elsewhere writes into its own folder.
    monkeypatch.chdir(tmp_path)
    assert leads_elsewhere("store", "recipes", REPO)
    assert not leads_elsewhere("store", "recipes", tmp_path / "gone")


def test_a_link_that_leads_to_itself_is_another_place(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    assert not is_same_place("loop", "runs/one")


def test_a_source_is_the_same_in_content_and_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_same_source("./mine.py:shade@1a", f"{tmp_path}/mine.py:shade@1a")
    assert not is_same_source("./mine.py:shade@1a", f"{tmp_path}/mine.py:shade@2b")
    assert not is_same_source("./mine.py:shade@1a", f"{tmp_path}/mine.py:glow@1a")
    assert not is_same_source("judge-1", "./judge-1")


def test_which_keys_are_paths():
    keys = ["store", "data.train", "rollout.prompt", "judge.members.0.model", "evidence.sharp.judge.scorer"]
    assert all(is_path(Recipe, key) for key in keys)
    others = ["name", "seed", "judge.call.voice", "data.prefixes.0", "no.such.key", "tracking.project"]
    assert not any(is_path(Recipe, key) for key in others)
