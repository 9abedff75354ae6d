"""What a run writes to be explained by, on machines that lack what a developer's has."""

import hashlib
import json
import subprocess
from dataclasses import replace

import pytest

from rl.recipe.paths import resolve_path
from rl.recipe.reader import load_recipe
from rl.run_dir import provenance
from rl.run_dir.provenance import NO_COMMIT, sources_of, write_provenance
from tests.support.training import make_recipe


def commit_of(tmp_path):
    write_provenance(load_recipe(resolve_path("recipes/shapes_grpo.yaml"), [f"run_dir={tmp_path}/run"]))
    return json.loads((tmp_path / "run/versions.json").read_text())["commit"]


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init")
    (folder / "file").write_text("1")
    git(folder, "add", "file")
    git(folder, "commit", "-m", "First")
    return folder


def test_a_run_says_its_commit_and_whether_files_differ_from_it(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "REPO", checkout)
    clean = commit_of(tmp_path)
    assert len(clean) == 40
    (checkout / "file").write_text("2")
    assert commit_of(tmp_path) == f"{clean}-dirty"


def test_a_machine_without_git_has_no_commit(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "REPO", checkout)
    monkeypatch.setenv("PATH", "")
    assert commit_of(tmp_path) == NO_COMMIT
    monkeypatch.setenv("PATH", str(checkout))
    (checkout / "git").write_text("cannot be executed")
    assert commit_of(tmp_path) == NO_COMMIT


def test_a_package_that_is_installed_inside_a_checkout_has_not_its_commit(checkout, tmp_path, monkeypatch):
    (checkout / "site-packages").mkdir()
    monkeypatch.setattr(provenance, "REPO", checkout / "site-packages")
    assert commit_of(tmp_path) == NO_COMMIT


def test_a_prompt_is_named_with_the_digest_of_its_file(tmp_path):
    text, code = tmp_path / "critic.txt", tmp_path / "theirs.py"
    text.write_text("<image><image> {instruction}")
    code.write_text("CRITIC = '<image><image> {instruction}'\n")
    for prompt, file in ((str(text), text), (f"{code}:CRITIC", code)):
        recipe = make_recipe(tmp_path)
        recipe = replace(recipe, rollout=replace(recipe.rollout, prompt=prompt))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        assert sources_of(recipe, {})["rollout"] == {"prompt": f"{prompt}@{digest}"}
