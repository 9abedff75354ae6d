"""The head of a cluster that a run has joined is killed: it ends by its own line, before Ray's libraries end it."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.node_loss.nodes import HEAD, Cluster, Node
from benchmarks.real_kills.injuries import TITLES, Injury, find
from benchmarks.real_kills.life import Hurt, Life

HEAD_OF_CLUSTER = Injury("Ray's head", "SIGKILL", "update", is_of_cluster=True)
NUM_CPUS = 8


def hurt_head(folder: Path, overrides: Sequence[str], temporary: str) -> Hurt:
    """Train on a cluster of one node, kill its gcs_server during an update, and see what becomes of the run."""
    cluster = Cluster.make(Path(temporary) / "ray")
    cluster.folder.mkdir(exist_ok=True)
    head = Node(cluster, HEAD, NUM_CPUS, is_head=True)
    try:
        head.wait()
        life = Life(folder, [*overrides, f"ray_address={cluster.gcs}"], cluster.environment)

        def victim() -> int:
            head.processes()  # they are ended with it, although they outlive who started them
            return find(head.pid, TITLES["Ray's head"])

        return life.hurt(HEAD_OF_CLUSTER, victim)
    finally:
        head.kill()
