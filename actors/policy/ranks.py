"""The processes of a policy: verl's worker group on Ray, on GPUs or on CPUs over gloo."""

import random

import ray
from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup

from actors.policy import verl_cpu
from actors.policy.setup import PolicySetup

_PORTS = (20_000, 32_000)
"""Ports for the ranks' rendezvous: above Ray's own and below the kernel's ephemeral ports, one of which might be taken
between verl's check and rank 0's listening."""


def start_ranks(setup: PolicySetup) -> RayWorkerGroup:
    """Start the ranks of a policy, of which each loads its part of the model. Raises ValueError without room."""
    from actors.policy.worker import PolicyWorker  # late: it takes seconds; most commands do not need it

    config = setup.config
    verl_cpu.install()
    resource = "GPU" if config.gpus_per_rank else "CPU"
    if (total := ray.cluster_resources().get(resource, 0)) < config.num_ranks:
        raise ValueError(f"policy.num_ranks={config.num_ranks} needs as many {resource}s, and Ray has {total:g}")
    per_node = min(config.num_ranks, config.ranks_per_node)
    pool = RayResourcePool(
        [per_node] * (config.num_ranks // per_node), use_gpu=config.gpus_per_rank > 0, max_colocate_count=1
    )
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
