"""What is built carries all that works outside the checkout: recipes, prompts, the shapes world, the lock file.

Slow: a wheel and an archive of sources are built.
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.source_tree import PACKAGES, REPO

pytestmark = pytest.mark.slow

FILES = ("pyproject.toml", "setup.py", "requirements.lock", "README.md", "LICENSE", "NOTICE")
BUILD = "import sys; from setuptools import build_meta as it; getattr(it, f'build_{sys.argv[1]}')(sys.argv[2])"


def build(kind: str, source: Path, out: Path) -> Path:
    out.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-c", BUILD, kind, str(out)], cwd=source, check=True, capture_output=True)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel out of a source distribution, as `python -m build` makes it, beside a checkout that stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (*FILES, *PACKAGES):
        (source / name).symlink_to(REPO / name)
    with tarfile.open(build("sdist", source, folder / "sdist")) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    with zipfile.ZipFile(build("wheel", unpacked, folder / "wheel")) as found:
        yield found


def test_a_wheel_holds_every_file_of_our_packages(wheel):
    ours = {
        str(file.relative_to(REPO))
        for package in PACKAGES
        for file in (REPO / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert sorted(ours - set(wheel.namelist())) == []
    assert len(wheel.read("recipes/shapes/weights/critic/model.safetensors")) > 1e6


def test_a_wheel_carries_the_lock_and_nothing_that_is_not_ours(wheel):
    assert wheel.read("rl/requirements.lock") == (REPO / "requirements.lock").read_bytes()
    folders = {name.split("/")[0] for name in wheel.namelist()}
    (described,) = folders - set(PACKAGES)
    assert described.endswith(".dist-info")
    assert f"{described}/licenses/NOTICE" in wheel.namelist()
