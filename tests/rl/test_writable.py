"""A folder that takes no file is told by its key before anything starts."""

import errno
import tempfile
from pathlib import Path

import pytest

from rl.launch import check_launch
from rl.run_dir.lock import locked
from rl.writable import check_store, check_writable
from tests.support.training import make_recipe


def test_what_can_be_written_is_left_as_it_was(tmp_path):
    check_writable(tmp_path, "store")
    check_store(str(tmp_path / "runs/store"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file/store", "at .*/file: Not a directory"),
        ("file", "Not a directory"),
        ("link", "a link that leads nowhere"),
        ("link/store", "at .*/link: a link that leads nowhere"),
        ("/proc/x", "at /proc: No such file or directory"),
    ],
)
def test_what_cannot_is_named_with_its_key(tmp_path, place, reason):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    recipe = make_recipe(tmp_path / "run", store=str(tmp_path / place))
    with pytest.raises(ValueError, match=rf"^store is \S*{place}, which cannot be written to by user \d+.*{reason}; "):
        check_launch(recipe)
    with pytest.raises(ValueError, match=rf"^run_dir is .*{reason}; "), locked(tmp_path / place):
        pass
    with pytest.raises(ValueError, match=rf"^--out is .*{reason}; "), locked(tmp_path / place, "--out"):
        pass


def test_a_disk_that_is_read_only_is_told(tmp_path, monkeypatch):
    def refuse(prefix: str, dir: Path) -> str:
        raise OSError(errno.EROFS, "Read-only file system", str(dir))

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(ValueError, match=rf"^store is \S*/ro/store, .* at {tmp_path}: Read-only file system; expected"):
        check_store(str(tmp_path / "ro/store"))


def test_the_copies_of_a_bucket_need_a_folder_too(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("INTERLEAVE_STORE_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        ValueError, match=r"^the folder for copies of store=s3://bucket/runs \(INTERLEAVE_STORE_CACHE\) is .*/file/"
    ):
        check_store("s3://bucket/runs")
