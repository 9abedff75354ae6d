"""What a recipe names by its path is found, or said to be missing."""

import re
from pathlib import Path

import pytest

from rl.recipe.config import REPO
from rl.recipe.paths import found_data, model_path, read_prompt


def test_a_folder_without_a_config_is_no_model(tmp_path):
    with pytest.raises(ValueError, match=r"^policy\.model is .*: it holds no config\.json or model_index\.json, so"):
        model_path(str(tmp_path), "policy.model")
    assert model_path(str(tmp_path), "generator.model", is_plain=False) == str(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert model_path(str(tmp_path), "policy.model") == str(tmp_path)
    assert model_path("owner/name", "policy.model") == "owner/name"
    for name in ("name", "owner/", "/name", "./name", "a/b/c"):
        with pytest.raises(ValueError, match=r"there is no such folder, and a hub id looks like owner/name"):
            model_path(name, "policy.model")
    assert model_path("gpt-image-1", "generator.model", is_at_endpoint=True) == "gpt-image-1"


def test_records_are_looked_for_here_and_then_in_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert found_data("recipes/story.yaml", "data.train") == REPO / "recipes/story.yaml"
    assert found_data("recipes/stor*.yaml", "data.train") == REPO / "recipes/stor*.yaml"
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/story.yaml").touch()
    assert found_data("recipes/stor*.yaml", "data.train") == Path("recipes/stor*.yaml")


@pytest.mark.parametrize("said", ["nope.jsonl", "nope-*.parquet"])
def test_records_that_are_nowhere_are_told_with_their_key_and_all_places(tmp_path, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    told = f"data.heldout: {said} does not exist; looked for {tmp_path}/{said} and {REPO}/{said}"
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        found_data(said, "data.heldout")
    with pytest.raises(ValueError, match=r"^data\.train: /no/such does not exist; looked for /no/such$"):
        found_data("/no/such", "data.train")


def test_a_prompt_that_is_nowhere_is_told_with_all_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=rf"^rollout\.prompt is no\.txt: .*; looked for {tmp_path}/no\.txt and {REPO}/"
    ):
        read_prompt("no.txt", "rollout.prompt")
