"""A cluster is looked at node by node. Slow: two raylets are started."""

import asyncio

import pytest

from actors.cluster import ray_cluster
from benchmarks.node_loss.nodes import Cluster, two_nodes
from rl.doctor.cluster import look_at_nodes


@pytest.mark.slow
def test_each_node_is_asked_and_the_network_measured(tmp_path_factory, monkeypatch):
    """Slow: two raylets are started, which tells whether a question reaches each of them."""
    folder = tmp_path_factory.mktemp("n", numbered=True)
    cluster = Cluster.make(folder)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, cluster.environment[name])

    async def look():
        async with ray_cluster(cluster.gcs, 2):
            return await asyncio.to_thread(lambda: list(look_at_nodes(folder)))

    with two_nodes(cluster, 2, 2):
        found = asyncio.run(look())
    nodes = [one for one in found if one.what.startswith("node ")]
    assert ["127.0.0.2" in nodes[0].what, "127.0.0.3" in nodes[1].what] == [True, True], nodes
    assert all(one.is_good for one in nodes), nodes
    [network] = [one for one in found if one.what == "network"]
    assert "127.0.0.3" in network.text
    assert not list(folder.glob(".seen-*"))
