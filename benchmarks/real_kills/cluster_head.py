"""The head of a cluster that a run has joined is hurt: it ends by its own line, before Ray's libraries end it.

One that is killed takes its raylet along, which `ray start --block` ends; one that is stopped leaves it, as a head on
another machine does.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.node_loss.nodes import HEAD, Cluster, Node
from benchmarks.real_kills.injuries import TITLES, Injury, find
from benchmarks.real_kills.life import Hurt, Life

HEADS_OF_CLUSTERS = tuple(Injury("Ray's head", how, "update", is_of_cluster=True) for how in ("SIGKILL", "SIGSTOP"))
NUM_CPUS = 8


def hurt_head(injury: Injury, folder: Path, overrides: Sequence[str], temporary: str) -> Hurt:
    """Train on a cluster of one node, hurt its gcs_server, and see what becomes of the run."""
    cluster = Cluster.make(Path(temporary) / "ray")
    shutil.rmtree(cluster.folder, ignore_errors=True)
    cluster.folder.mkdir()
    head = Node(cluster, HEAD, NUM_CPUS, is_head=True)
    life: Life | None = None
    try:
        head.wait()
        life = Life(folder, [*overrides, f"ray_address={cluster.gcs}"], cluster.environment)

        def victim() -> int:
            head.processes()  # they are ended with it, although they outlive who started them
            return find(head.pid, TITLES["Ray's head"])

        return life.hurt(injury, victim)
    finally:
        if life:
            life.end()
        head.kill()
