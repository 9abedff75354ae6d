"""A cluster is looked at node by node. Slow: two raylets are started."""

import subprocess
import sys

import pytest

from benchmarks.node_loss.nodes import Cluster, two_nodes
from rl.recipe.config import REPO


@pytest.mark.slow
def test_each_node_is_asked_and_the_network_measured(tmp_path_factory):
    """Slow: two raylets are started, which tells whether a question reaches each of them."""
    folder = tmp_path_factory.mktemp("n", numbered=True)
    cluster = Cluster.make(folder)
    settings = [f"ray_address={cluster.gcs}", f"run_dir={folder}/run", f"store={folder}/store"]
    # A process of its own, as a cluster's token is read once.
    command = [sys.executable, "-m", "rl.cli", "doctor", "recipes/shapes_grpo.yaml", *settings]
    with two_nodes(cluster, 2, 2):
        done = subprocess.run(command, env=cluster.environment, cwd=REPO, capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    nodes = [line for line in said if line.split()[1] == "node"]
    assert ["127.0.0.2" in nodes[0], "127.0.0.3" in nodes[1]] == [True, True], done
    assert all(line.startswith("  ok") and "nothing is wrong" in line for line in nodes), nodes
    [network] = [line for line in said if line.split()[1] == "network"]
    assert "127.0.0.3" in network
    assert not list(folder.glob(".seen-*"))
