"""What the policy asks of its ranks by a method's name is a method of theirs."""

import ast
import inspect


def test_the_ranks_have_every_method_that_the_policy_calls():
    from actors.policy.policy import Policy
    from actors.policy.worker import PolicyWorker

    calls = [node for node in ast.walk(ast.parse(inspect.getsource(Policy))) if isinstance(node, ast.Call)]
    named = [node.args[0] for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "_call"]
    names = {str(name.value) for name in named if isinstance(name, ast.Constant)}
    assert len(names) > 8
    assert {name for name in names if not hasattr(PolicyWorker, name)} == set()
