"""What a run needs of the nodes of a cluster: the same code, versions and folders, and a network between them."""

import hashlib
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.nodes import Said, ask_nodes, seconds_per_gib
from rl.doctor.finding import Finding
from rl.doctor.machine import lock_file, look_at_machine

_SLOW_S = 10.0
"""Seconds a GiB: a gigabit network. 17.5 GB of weights would take three minutes a publish."""
_ASIDE = frozenset({"interpreter", "W&B"})
"""What only the driver's node has to have right: Ray itself refuses nodes of another Python."""


@dataclass(frozen=True)
class NodeFacts:
    """A node, as it sees itself."""

    lock: str
    """Digest of its lock file; empty: none there."""
    sees: bool
    """It sees the mark that the driver left in the run's folder."""
    findings: tuple[Finding, ...]


def look_at_nodes(folder: Path) -> Iterator[Finding]:
    """Yield what the nodes of the cluster that we are connected to have; `folder` is the run's.

    A mark is left in the folder, or the nearest above it that exists, and taken away again.
    """
    there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    mark = there / f".seen-{uuid.uuid4().hex}"
    try:
        try:
            mark.touch()
        except OSError as error:
            yield Finding("run_dir", f"{there} cannot be written: {error.strerror}", "set run_dir to another folder")
        said = ask_nodes(facts_here, str(folder), str(mark))
    finally:
        mark.unlink(missing_ok=True)
    yield from judge_nodes(said, there)
    for name, seconds in seconds_per_gib().items():
        mend = "" if seconds < _SLOW_S else "give Ray the nodes' fast network (ray start --node-ip-address of it)"
        yield Finding("network", f"{1 / seconds:.2f} GiB/s from here to {name}", mend)


def facts_here(folder: str, mark: str) -> NodeFacts:
    """Return what a node sees of itself: called there."""
    findings = (found for found in look_at_machine(Path(folder)) if found.what not in _ASIDE)
    return NodeFacts(_digest(lock_file()), Path(mark).exists(), tuple(findings))


def judge_nodes(said: Mapping[str, Said[NodeFacts]], folder: Path) -> Iterator[Finding]:
    """Yield a line for each node that is well, and one for each thing that is not; the driver's node is the first."""
    ours = next((one.answer.lock for one in said.values() if one.answer), "")
    for name, one in said.items():
        facts, what = one.answer, f"node {name}"
        if facts is None:
            yield Finding(
                what, f"does not answer: {one.error}", "see that this code is installed there, at the same path"
            )
            continue
        wrong = [
            Finding(what, f"{found.what}: {found.text}", found.mend) for found in facts.findings if not found.is_good
        ]
        if facts.lock != ours:
            wrong.append(Finding(what, "has another requirements.lock", "install the same commit there"))
        if not facts.sees:
            mend = "set run_dir to a folder that all nodes share, if ranks of the policy are to run there"
            wrong.append(Finding(what, f"does not see {folder}", mend))
        yield from wrong or [Finding(what, f"the same lock, sees {folder}, nothing is wrong with it")]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
