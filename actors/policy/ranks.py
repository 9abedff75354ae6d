"""The processes of a policy: verl's worker group on Ray, on GPUs or on CPUs over gloo."""

import random
from collections.abc import Mapping

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import placement_group, remove_placement_group
from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup
from verl.single_controller.ray.base import sort_placement_group_by_node_ip

from actors.config import PolicyConfig
from actors.policy import verl_cpu
from actors.policy.setup import PolicySetup

_PORTS = (20_000, 32_000)
"""Ports for the ranks' rendezvous: above Ray's own and below the kernel's ephemeral ports, one of which might be taken
between verl's check and rank 0's listening."""
_HERE_S = 30
"""How long room on the driver's node that was free a moment ago is waited for."""


def reserve_places(config: PolicyConfig) -> RayResourcePool:
    """Reserve what each rank takes, and return once Ray has it. Raises ValueError without room.

    Ranks go to the driver's node if it has room for all, so that the run depends on that node alone and survives the
    loss of any other one; else `ranks_per_node` of them go together wherever there is room.
    """
    verl_cpu.install()
    resource = "GPU" if config.gpus_per_rank else "CPU"
    if (total := ray.cluster_resources().get(resource, 0)) < config.num_ranks:
        raise ValueError(f"policy.num_ranks={config.num_ranks} needs as many {resource}s, and Ray has {total:g}")
    per_node = min(config.num_ranks, config.ranks_per_node)
    nodes = [per_node] * (config.num_ranks // per_node)
    bundle = {"CPU": 1.0, resource: 1.0}
    groups = []
    if len(nodes) == 1 and (here := _drivers_node(bundle, per_node)):
        groups = [placement_group([bundle | here] * per_node, strategy="STRICT_PACK")]
        if not groups[0].wait(_HERE_S):  # somebody else was faster
            remove_placement_group(groups.pop())
    groups = groups or [placement_group([bundle] * per_node, strategy="STRICT_PACK") for _ in nodes]
    ray.get([group.ready() for group in groups])
    pool = RayResourcePool(nodes, use_gpu=config.gpus_per_rank > 0, max_colocate_count=1)
    pool.pgs = sort_placement_group_by_node_ip(groups)
    return pool


def _drivers_node(bundle: Mapping[str, float], count: int) -> dict[str, float]:
    """Return the resource that only the driver's node has, by Ray's name; nothing if `count` bundles do not fit."""
    free = available_resources_per_node().get(ray.get_runtime_context().get_node_id(), {})
    if any(free.get(name, 0.0) < count * amount for name, amount in bundle.items()):
        return {}
    return {name: 0.001 for name in free if name.startswith("node:") and not name.startswith("node:__")}


def start_ranks(setup: PolicySetup, places: RayResourcePool | None = None) -> RayWorkerGroup:
    """Start the ranks of a policy, of which each loads its part of the model, in their reserved places."""
    from actors.policy.worker import PolicyWorker  # late: it takes seconds; most commands do not need it

    config = setup.config
    pool = reserve_places(config) if places is None else places
    environment = {"TOKENIZERS_PARALLELISM": "false", "VERL_LOGGING_LEVEL": "WARNING"}
    if config.gpus_per_rank == 0:
        environment |= {"OMP_NUM_THREADS": str(config.num_threads), "VERL_PLATFORM": "cpu"}
    return RayWorkerGroup(
        pool,
        RayClassWithInitArgs(ray.remote(PolicyWorker), setup=setup),
        device_name="cuda" if config.gpus_per_rank else "cpu",
        worker_env=environment,
        master_port_range=_rendezvous_ports(),
    )


def _rendezvous_ports() -> list[int]:
    """Return verl's range of ports to try, starting at a random one: groups that start together should not collide."""
    first, end = _PORTS
    return [random.SystemRandom().randrange(first, end - 1_000), end]
