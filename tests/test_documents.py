"""What an open project has: its documents name files and modules that are there, and packaging has one version."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

import rl

REPO = Path(__file__).resolve().parents[1]
DOCUMENTS = [REPO / "CONTRIBUTING.md", REPO / "CHANGELOG.md", REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
PACKAGES = ("rl", "rollout", "rewards", "actors", "recipes", "data", "evals")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_that_are_there(path):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_names_of_the_public_api_are_there():
    rows = re.findall(
        r"^\| `([a-z_.]+)` \| (`.+?) \|", (REPO / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) >= 7
    for module, names in rows:
        path = REPO / module.replace(".", "/")
        files = path.glob("*.py") if path.is_dir() else [path.with_suffix(".py")]
        source = "\n".join(file.read_text(encoding="utf-8") for file in files)
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf'^((class|def|async def) {name}\b|    "{name}",)', source, re.MULTILINE), (
                f"{module}.{name}"
            )


def test_packages_carry_types_and_one_version():
    assert all((REPO / package / "py.typed").is_file() for package in PACKAGES)
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "rl.__version__"}
    assert importlib.metadata.version("interleave-thinker") == rl.__version__
    assert f"## [{rl.__version__}]" in (REPO / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_tool_of_the_project_is_pinned():
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    pinned = {line.partition("==")[0] for line in (REPO / "requirements.lock").read_text().splitlines()}
    assert [name for name in (re.split(r"[\[<>=]", each)[0] for each in wanted) if name not in pinned] == []
