"""Prints the living actors of a node by class: `python -m benchmarks.node_loss.living_actors GCS ADDRESS`.

A process of its own, as it needs the cluster's token from its start on. The titles of processes would tell as much, but
they change with each call, and who reads one in the middle of a change reads nonsense.
"""

import json
import sys
from collections import Counter

from ray._private.state import GcsClientOptions, GlobalState


def living_actors(gcs: str, address: str) -> Counter[str]:
    """Count the actors that live on the node with an IP address, by class; replicas of Serve are one class."""
    state = GlobalState()
    state._initialize_global_state(
        GcsClientOptions.create(gcs, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
    )
    actors = state.actor_table(None, None, "ALIVE").values()
    return Counter(
        actor["ActorClassName"].partition(":")[0] for actor in actors if actor["Address"]["IPAddress"] == address
    )


if __name__ == "__main__":
    print(json.dumps(living_actors(*sys.argv[1:])))
