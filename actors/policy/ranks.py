"""The processes of a policy: verl's worker group on Ray, on GPUs or on CPUs over gloo."""

import random

import ray
from verl.single_controller.ray import RayClassWithInitArgs, RayResourcePool, RayWorkerGroup
from verl.single_controller.ray.base import sort_placement_group_by_node_ip

from actors.cpu_kernels import portable_kernels
from actors.policy import verl_cpu
from actors.policy.setup import PolicySetup
from actors.policy.worker import PolicyWorker
from actors.shared_devices import Devices, reserve

_PORTS = (20_000, 32_000)
"""Ports for the ranks' rendezvous: above Ray's own and below the kernel's ephemeral ports, one of which might be taken
between verl's check and rank 0's listening."""


def start_ranks(setup: PolicySetup, devices: Devices | None = None) -> RayWorkerGroup:
    """Start the ranks of a policy, of which each loads its part of the model.

    `devices` is what is reserved for them; None: it is done here. Raises ValueError without room.
    """
    config = setup.config
    verl_cpu.install()
    devices = devices or reserve(config)
    has_gpu = config.gpus_per_rank > 0
    pool = RayResourcePool(
        [group.bundle_count for group in devices.groups],
        use_gpu=has_gpu,
        # verl asks Ray for 1 / max_colocate_count GPUs a rank, and for nothing more where there are groups already.
        max_colocate_count=1 / devices.gpus_each if has_gpu else 1,
    )
    pool.pgs = sort_placement_group_by_node_ip(list(devices.groups))
    environment = {"TOKENIZERS_PARALLELISM": "false", "VERL_LOGGING_LEVEL": "WARNING"}
    if config.gpus_per_rank == 0:
        environment |= {"OMP_NUM_THREADS": str(config.num_threads), "VERL_PLATFORM": "cpu", **portable_kernels()}
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
