"""Where a store is: folders and buckets are told apart, and each machine has a folder for both."""

from pathlib import Path

import pytest

from actors.store.place import CACHE_VARIABLE, folder_of, is_bucket, is_place, placed
from rl.recipe.config import REPO
from rl.recipe.reader import load_recipe


def test_a_folder_becomes_absolute_and_a_url_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert placed("store") == placed(Path("store")) == str(tmp_path / "store")
    assert placed("s3://bucket/prefix/") == "s3://bucket/prefix"
    assert not is_bucket(Path("s3:/bucket"))


def test_copies_of_a_bucket_have_a_folder_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    one, other = folder_of("s3://bucket/one"), folder_of("gs://bucket/one")
    assert one != other
    assert one == folder_of("s3://bucket/one/")
    assert one.parent == other.parent == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    assert folder_of("s3://bucket/one").is_relative_to(Path.home() / ".cache")


@pytest.mark.parametrize("place", ["http://bucket/one", "s3:/bucket/one", "s3://", "s3:///one", "S3://bucket"])
def test_a_slip_in_a_url_is_no_folder(place):
    assert not is_place(place)
    with pytest.raises(ValueError, match=r"store is .*expected a folder, or s3://bucket/prefix"):
        load_recipe(REPO / "recipes" / "shapes_grpo.yaml", [f"store={place}"])


def test_a_recipe_takes_a_bucket():
    recipe = load_recipe(REPO / "recipes" / "shapes_grpo.yaml", ["store=s3://bucket/runs", "ledger.segment_s=5"])
    assert (recipe.store, recipe.ledger.segment_s) == ("s3://bucket/runs", 5.0)
