"""What nodes say of themselves, held against the driver's node."""

from pathlib import Path

from actors.nodes import Said
from rl.doctor.cluster import NodeFacts, facts_here, judge_nodes
from rl.doctor.finding import Finding

WELL = NodeFacts("abc", True, (Finding("disk", "100 GiB free"),))


def told(**others: Said[NodeFacts]) -> list[Finding]:
    return list(judge_nodes({"head": Said(WELL), **others}, Path("/runs/one")))


def test_a_node_like_the_drivers_is_one_good_line():
    assert [found.is_good for found in told(second=Said(WELL))] == [True, True]


def test_each_thing_that_differs_is_a_line():
    full = (Finding("disk", "1 GiB free", "make room"), Finding("open files", "enough"))
    head, *wrong = told(second=Said(NodeFacts("other", False, full)))
    assert head.is_good
    assert [found.text for found in wrong] == [
        "disk: 1 GiB free",
        "has another requirements.lock",
        "does not see /runs/one",
    ]
    assert all(found.what == "node second" and found.mend for found in wrong)


def test_a_node_without_our_code_is_told():
    _, silent = told(second=Said(None, "ModuleNotFoundError: No module named 'rl'"))
    assert not silent.is_good
    assert "No module named 'rl'" in silent.text


def test_a_node_sees_what_is_there(tmp_path):
    mark = tmp_path / "mark"
    assert not facts_here(str(tmp_path), str(mark)).sees
    mark.touch()
    facts = facts_here(str(tmp_path), str(mark))
    assert facts.sees
    assert len(facts.lock) == 64
    assert {"disk", "packages", "shared memory"} <= {found.what for found in facts.findings}
