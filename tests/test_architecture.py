"""The house rules that a machine can check: who imports whom, what Ray may touch, whose names are ours."""

import ast
import importlib.metadata
import sys
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
PACKAGES = ("rl", "rollout", "rewards", "actors", "data", "evals", "recipes")
HEAVY = {"torch", "ray", "vllm", "diffusers", "verl", "transformers"}

# What each package may import of ours; of rollout, some see its ground rooms alone (`GROUND`).
ALLOWED = {
    "rl": {"rl", "actors", "rollout", "rewards", "data", "evals", "recipes"},
    "actors": {"actors", "rollout", "rewards"},
    "rollout": {"rollout"},
    "rewards": {"rewards", "rollout"},
    "data": {"data", "rollout", "actors"},
    "evals": {"evals", "rollout", "actors"},
    "recipes": {"recipes", "rollout", "actors", "data", "evals"},
}
GROUND = {
    "rewards": {"rollout.types", "rollout.text"},
    "data": {"rollout.types", "rollout.text"},
    "rollout/types": {"rollout.types", "rollout.text"},
    "rollout/text": {"rollout.text"},
}
"""What these may import of rollout: plain data, and the texts of prompts and answers."""


def modules(folder: str) -> list[Path]:
    return sorted((REPO / folder).rglob("*.py"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text())))


@cache
def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package):
    breaches = [
        f"{path.relative_to(REPO)} imports {name}"
        for path in modules(package)
        for name in imports(path)
        if name.split(".")[0] in PACKAGES and name.split(".")[0] not in ALLOWED[package]
    ]
    assert breaches == []


def test_below_rollouts_own_code_only_its_types_and_texts_are_known():
    breaches = [
        f"{path.relative_to(REPO)} imports {name}"
        for folder, allowed in GROUND.items()
        for path in modules(folder)
        for name in imports(path)
        if name.split(".")[0] == "rollout" and ".".join(name.split(".")[:2]) not in allowed
    ]
    assert breaches == []


@pytest.mark.parametrize("package", ["rollout", "rewards"])
def test_journeys_and_rewards_are_free_of_heavy_libraries(package):
    names = {name.split(".")[0] for path in modules(package) for name in imports(path)}
    assert names & HEAVY == set()


def test_ray_stays_inside_actors():
    breaches = []
    for package in set(PACKAGES) - {"actors"}:
        for path in modules(package):
            if any(name.split(".")[0] in {"ray", "vllm"} for name in imports(path)):
                breaches.append(f"{path} imports ray or vllm")
            for node in nodes(path):
                if isinstance(node, ast.Attribute) and node.attr == "remote":
                    breaches.append(f"{path}:{node.lineno} uses .remote")
    assert breaches == []


def test_verl_is_imported_in_few_places():
    users = {
        str(path.relative_to(REPO))
        for package in PACKAGES
        for path in modules(package)
        if any(name.split(".")[0] == "verl" for name in imports(path))
    }
    assert users <= {
        "rl/advantages.py",
        "actors/policy/policy.py",
        "actors/policy/loss.py",
        "actors/policy/rows.py",
        "actors/policy/verl_config.py",
        "actors/policy/worker.py",
        "actors/policy/verl_cpu.py",
    }


def test_no_installed_distribution_owns_one_of_our_packages():
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, ["interleave-thinker"])) == {"interleave-thinker"}, package


def test_our_tests_are_not_those_of_a_dependency():
    assert Path(sys.modules["tests"].__file__).parent == REPO / "tests"
