"""A run whose ledger is in a bucket, and not on this disk."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors.shipping.segments import cut, ledger_prefix, ship
from actors.store.append_log import AppendLog, read_log
from actors.store.bucket import Bucket
from rl.run_dir.resume import AUTO, check_run_dir, is_resumed
from rl.run_dir.shipped import take_over
from tests.support.training import make_recipe


@pytest.fixture
def recipe(tmp_path):
    """A recipe whose run has shipped two samples, and whose folder is gone."""
    recipe = replace(make_recipe(tmp_path / "run"), store=f"file://{tmp_path}/bucket")
    log = AppendLog(tmp_path / "lost", "samples")
    log.append([{"n": 1}, {"n": 2}])
    for number, piece in enumerate(cut(log.path, 0), 1):
        ship(Bucket(recipe.store), ledger_prefix(Path(recipe.run_dir)), log.path.stem, number, piece)
    return recipe


def test_a_new_run_of_the_name_is_refused(recipe):
    with pytest.raises(ValueError, match=r"has the ledger of a run of this name.*add --resume .*or run_dir="):
        check_run_dir(recipe, is_resumed=False)


@pytest.mark.parametrize("asked", [True, AUTO])
def test_a_resumed_one_takes_it_over(recipe, asked):
    assert take_over(recipe) == 1
    assert [row["n"] for row in read_log(Path(recipe.run_dir) / "ledger", "samples")] == [1, 2]
    assert is_resumed(asked, Path(recipe.run_dir))
    check_run_dir(recipe, is_resumed=True)
    assert take_over(recipe) == 0


def test_another_run_and_one_in_a_folder_have_nothing_to_take_over(recipe, tmp_path):
    other = replace(recipe, run_dir=str(tmp_path / "other"))
    check_run_dir(other, is_resumed=False)
    assert take_over(other) == 0
    assert take_over(replace(recipe, store=str(tmp_path / "store"))) == 0
