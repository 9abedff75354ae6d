"""What the policy asks of its ranks by a method's name is a method of theirs."""

import ast
from importlib.util import find_spec
from pathlib import Path

from tests.support.source_tree import REPO

VERL = Path(str(find_spec("verl").origin)).parent


def class_in(path: Path, name: str) -> ast.ClassDef:
    """Return a class as it is written: importing the ranks' takes seconds, as verl looks for vLLM."""
    (found,) = (
        node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef) and node.name == name
    )
    return found


def methods(of: ast.ClassDef) -> set[str]:
    return {node.name for node in of.body if isinstance(node, ast.FunctionDef)}


def test_the_ranks_have_every_method_that_the_policy_calls():
    policy = class_in(REPO / "actors/policy/policy.py", "Policy")
    worker = class_in(REPO / "actors/policy/worker.py", "PolicyWorker")
    sharing = class_in(REPO / "actors/policy/weight_sharing.py", "WeightSharing")
    base = class_in(VERL / "workers/engine_workers.py", "TrainingWorker")
    staging = class_in(REPO / "actors/policy/checkpoint_staging.py", "CheckpointStaging")
    assert [ast.unparse(name) for name in worker.bases] == [staging.name, sharing.name, base.name]
    calls = [node for node in ast.walk(policy) if isinstance(node, ast.Call)]
    named = [node.args[0] for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "_call"]
    names = {str(name.value) for name in named if isinstance(name, ast.Constant)}
    assert len(names) > 8
    assert names - methods(worker) - methods(staging) - methods(sharing) - methods(base) == set()
