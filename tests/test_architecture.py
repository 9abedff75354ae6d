"""The house rules that a machine can check: who imports whom, what Ray may touch, whose names are ours."""

import ast
import importlib.metadata
import sys
from pathlib import Path

import pytest

from tests.support.import_graph import circular, import_graph, neighbours, rooms
from tests.support.source_tree import PACKAGES, REPO, imports, modules, nodes

OURS = {*PACKAGES, "benchmarks", "tests"}
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


@pytest.fixture(scope="module")
def graph():
    return import_graph(REPO, [*PACKAGES, "benchmarks"])


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package):
    breaches = [
        f"{path.relative_to(REPO)} imports {name}"
        for path in modules(package)
        for name in imports(path)
        if name.split(".")[0] in OURS - ALLOWED[package]
    ]
    assert breaches == []


@pytest.mark.parametrize("package", sorted(OURS))
def test_what_is_imported_of_ours_is_there(package):
    """Late imports too, which nothing else notices before they run: a lost module passes for foreign with mypy."""
    lost = [
        f"{path.relative_to(REPO)} imports {name}"
        for path in modules(package)
        for name in sorted(imports(path))
        if name.split(".")[0] in OURS
        if not (REPO / name.replace(".", "/")).is_dir() and not (REPO / f"{name.replace('.', '/')}.py").is_file()
    ]
    assert lost == []


def test_no_files_import_each_other_in_a_circle(graph):
    """Imports within functions and for types alone count: who reads one file of a circle has to read them all."""
    arrows = [f"{file} -> {other}" for file, other in circular(graph)]
    assert not arrows, "\n".join(arrows)


def test_no_rooms_import_each_other_in_a_circle(graph):
    """What stands side by side in a folder: packages, the rooms and files of a package, the files and rooms of a room.

    A folder counts as a whole, with all that is below it, and a file beside it by itself: rooms stand on some of a
    package's own files (actors/pool.py), and others bring rooms together (rl/train.py).
    """
    between = set(circular(rooms(graph)))
    arrows = [
        f"{' -> '.join(neighbours(file, other))}: {file} imports {other}"
        for file, others in graph.items()
        for other in others
        if neighbours(file, other) in between
    ]
    assert not arrows, "\n".join(sorted(arrows))


def test_a_circle_is_found_wherever_its_imports_stand(tmp_path):
    files = {
        "p/a.py": "from p import b\n",
        "p/b.py": "def late():\n    import p.r.c\n",
        "p/r/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import A\n",
        "p/r/d.py": "from p.s.e import E\n",
        "p/s/e.py": "import os\n",
        "p/s/f.py": "from p.r import c, g\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    graph = import_graph(tmp_path, ["p"])
    assert circular(graph) == [("p/a.py", "p/b.py"), ("p/b.py", "p/r/c.py"), ("p/r/c.py", "p/a.py")]
    assert {("p/r", "p/s"), ("p/s", "p/r")} <= set(circular(rooms(graph)))
    assert circular({file: others for file, others in graph.items() if file != "p/a.py"} | {"p/a.py": set()}) == []


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
            if "remote" not in path.read_text(encoding="utf-8"):
                continue  # parsing takes longest of all here
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
    assert {user for user in users if not user.startswith("actors/policy/")} <= {
        "rl/advantages.py",
        "rl/verl_plugin.py",
    }


def test_every_room_is_installed():
    rooms = {path.parent for package in PACKAGES for path in modules(package)}
    assert [str(room) for room in rooms if not (room / "__init__.py").is_file()] == []


def test_no_installed_distribution_owns_one_of_our_packages():
    owners = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, ["interleave-thinker"])) == {"interleave-thinker"}, package


def test_our_tests_are_not_those_of_a_dependency():
    assert Path(str(sys.modules["tests"].__file__)).parent == REPO / "tests"
