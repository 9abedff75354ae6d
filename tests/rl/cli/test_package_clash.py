"""Modules of the working folder that have the names of our packages; distributions that own them."""

import os
import subprocess
import sys

import pytest

from actors.user_functions.process import start
from rewards.compose import TermConfig
from rewards.functions.import_path import OWN_PACKAGES, FunctionError, load_function
from rl.cli import package_clash
from rl.cli.package_clash import clash_of, put_first
from rl.recipe.config import REPO


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a module of each of our names, and one of its own."""
    for name in OWN_PACKAGES:
        (tmp_path / f"{name}.py").write_text("def mine(evidence):\n    return 1.0\n")
    (tmp_path / "my_words.py").write_text("def mine(evidence):\n    return 2.0\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_ours_win_and_theirs_are_found_behind_them(folder):
    """Slow: it starts processes of Python."""
    code = (
        "import sys; from rl.cli.package_clash import put_first; put_first(); import rewards.functions.import_path, "
        "rollout.types, data.errors, evals, recipes, actors.config, my_words; "
        "print(my_words.mine(0), rewards.functions.import_path.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), str(folder)])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["2.0", str(REPO / "rewards" / "functions" / "import_path.py")]


def test_the_order_is_ours_then_the_working_folder_then_the_rest(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", str(folder), "/theirs", str(REPO)])
    put_first()
    assert sys.path == [str(REPO), str(folder), "/theirs"]


@pytest.mark.slow
def test_a_childs_own_working_folder_takes_none_of_our_names(folder, monkeypatch):
    """Slow: it starts processes of Python."""
    monkeypatch.setattr(sys, "path", [str(REPO), *sys.path])
    started = start(TermConfig("./rewards.py:mine"))
    started.close()
    assert not started.traits.is_async


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("rewards.mine", "rewards is a package of InterleaveThinker, which hides yours: write ./rewards.py:mine"),
        ("data.mine", "data is a package of InterleaveThinker, which hides yours: write ./data.py:mine"),
        ("rollout.mine.fn", "write ./rollout.py:mine"),
    ],
)
def test_a_wanted_module_behind_one_of_ours_is_told_how_to_be_named(folder, path, told):
    with pytest.raises(FunctionError) as refused:
        load_function(path)
    assert told in str(refused.value)
    assert load_function("./rewards.py:mine")(None) == 1.0


def test_a_missing_function_of_ours_is_no_clash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FunctionError) as refused:
        load_function("rewards.format.no_such")
    assert "hides yours" not in str(refused.value)


def test_a_distribution_that_took_a_packages_place_is_named(monkeypatch):
    owners = {"data": ["interleave-thinker", "some-data"], "rl": ["interleave-thinker"]}
    monkeypatch.setattr(package_clash, "packages_distributions", lambda: owners)
    assert clash_of(ImportError("none", name="data.errors")) == (
        "cannot import data.errors: the package 'data' is also installed by some-data, which took its place; use an "
        "environment without some-data"
    )
    assert clash_of(ImportError("none", name="rl.run")) == ""
    assert clash_of(ImportError("none", name="flash_attn")) == ""
