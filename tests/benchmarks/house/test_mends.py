"""What mends added, as a small repository tells it."""

import shutil
import subprocess

import pytest

from benchmarks.house.mends import listed, mends

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


def commit(root, message, **files):
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink() if text is None else path.write_text(text)
    subprocess.run(["git", "add", "--all"], cwd=root, check=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "--quiet", "--message", message], cwd=root, check=True)
    return (
        subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True).stdout.decode().strip()
    )


@pytest.fixture
def history(tmp_path):
    """A first commit, a mend that adds two statements, a move, and one that takes one away again."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path, [
        commit(tmp_path, "first", rl__a_py="x = 1\n"),
        commit(tmp_path, "mend", rl__a_py="x = 1\ny = 2\nz = 3\n", tests__a_py="x = 1\n", notes="no code"),
        commit(tmp_path, "move", rl__a_py=None, data__b_py="x = 1\ny = 2\nz = 3\n"),
        commit(tmp_path, "less", data__b_py="x = 1\ny = 2\n"),
    ]


def test_each_commit_has_its_own_change(history):
    root, commits = history
    told = mends(root, [commits[0], f"{commits[0]}..{commits[3]}", commits[1]])
    assert [(mend.subject, mend.num_added) for mend in told] == [("first", 1), ("mend", 2), ("move", 0), ("less", -1)]


def test_a_range_that_is_none_is_named(history):
    with pytest.raises(ValueError, match=r"git knows no HEAD\.\.nowhere"):
        mends(history[0], ["HEAD..nowhere"])


def test_without_a_checkout_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert mends(tmp_path, ["HEAD"]) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert mends(tmp_path, ["HEAD"]) is None


def test_the_list_holds_commits():
    assert listed()
    assert all(len(name) >= 7 and set(name) <= set("0123456789abcdef") for name in listed())
