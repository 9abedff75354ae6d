"""Where the ranks of a policy are, and samplers that take turns with them on the same devices (`placement: colocate`).

A placement group a node, with a bundle a rank: Ray gives all that runs in a bundle the same GPU. Sharing a GPU has not
run on one yet: on CPUs the same code shares nothing but the bundles.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from actors.config import PolicyConfig

_READY_S = 600.0
_HERE_S = 30
"""How long room on the driver's node that was free a moment ago is waited for."""


@dataclass(frozen=True)
class Devices:
    """What is reserved for a policy's ranks, and for those who take turns with them."""

    groups: tuple[PlacementGroup, ...]
    """One a node, with as many bundles each."""
    gpus: float
    """Of one bundle."""
    num_sharing: int = 1
    """Actors of one bundle."""

    @property
    def gpus_each(self) -> float:
        """Of one actor in a bundle, as Ray counts them: in its turn it has all of the bundle's."""
        return self.gpus / self.num_sharing

    def places(self) -> list[PlacementGroupSchedulingStrategy]:
        """Return where actors may share a rank's devices, one a rank; the first ones are on different nodes."""
        by_node = [[(group, bundle) for bundle in range(group.bundle_count)] for group in self.groups]
        turns = chain.from_iterable(zip_longest(*by_node))
        return [
            PlacementGroupSchedulingStrategy(turn[0], turn[1], placement_group_capture_child_tasks=False)
            for turn in turns
            if turn is not None
        ]


async def reserve_devices(config: PolicyConfig, *, is_shared: bool = False) -> Devices:
    """Reserve what a policy's ranks need, before others take parts of nodes that have to be whole.

    `is_shared`: samplers will take turns with them. Raises ValueError without room.
    """
    return await asyncio.to_thread(reserve, config, is_shared=is_shared)


def reserve(config: PolicyConfig, *, is_shared: bool = False) -> Devices:
    """Reserve as `reserve_devices` does, and wait.

    Ranks go to the driver's node if it has room for all, so that the run depends on that node alone and survives the
    loss of any other one; else `ranks_per_node` of them go together wherever there is room.
    """
    resource = "GPU" if config.gpus_per_rank else "CPU"
    needed = config.num_ranks * (config.gpus_per_rank or 1)
    if (total := ray.cluster_resources().get(resource, 0)) < needed:
        raise ValueError(f"policy.num_ranks={config.num_ranks} needs {needed:g} {resource}s, and Ray has {total:g}")
    num_sharing = 2 if is_shared else 1
    bundles = bundles_of(config, num_sharing)
    groups = _on_drivers_node(bundles) or [placement_group(of_node, strategy="STRICT_PACK") for of_node in bundles]
    ready, missing = ray.wait([group.ready() for group in groups], num_returns=len(groups), timeout=_READY_S)
    if missing:
        for group in groups:
            remove_placement_group(group)
        raise ValueError(
            f"policy.num_ranks={config.num_ranks}: after {_READY_S:.0f} s {len(ready)} of {len(groups)} nodes have "
            f"room for {len(bundles[0])} ranks each; lower policy.num_ranks or policy.ranks_per_node"
        )
    return Devices(tuple(groups), config.gpus_per_rank, num_sharing)


def _on_drivers_node(bundles: Sequence[Sequence[Mapping[str, float]]]) -> list[PlacementGroup]:
    """Return a group on the driver's node, if one node is enough and that one has room."""
    if len(bundles) > 1:
        return []
    [of_node] = bundles
    free = available_resources_per_node().get(ray.get_runtime_context().get_node_id(), {})
    needed = Counter[str]()
    for bundle in of_node:
        needed.update(bundle)
    if any(free.get(name, 0.0) < amount for name, amount in needed.items()):
        return []
    # The resource that this node alone has, by Ray's name.
    here = {name: 0.001 for name in free if name.startswith("node:") and not name.startswith("node:__")}
    group = placement_group([{**bundle, **here} for bundle in of_node], strategy="STRICT_PACK")
    if group.wait(_HERE_S):
        return [group]
    remove_placement_group(group)  # somebody else was faster
    return []


def bundles_of(config: PolicyConfig, num_sharing: int) -> list[list[dict[str, float]]]:
    """Return what Ray is asked for: for each node, a bundle for each rank there.

    >>> bundles_of(PolicyConfig(model="m", num_ranks=2, ranks_per_node=1, gpus_per_rank=1), 2)
    [[{'CPU': 2.0, 'GPU': 1.0}], [{'CPU': 2.0, 'GPU': 1.0}]]
    """
    per_node = min(config.num_ranks, config.ranks_per_node)
    gpus = {"GPU": float(config.gpus_per_rank)} if config.gpus_per_rank else {}
    bundle = {"CPU": float(num_sharing)} | gpus
    return [[dict(bundle) for _ in range(per_node)] for _ in range(config.num_ranks // per_node)]


def spread_over(devices: Devices | None, count: int) -> Sequence[PlacementGroupSchedulingStrategy | str]:
    """Return Ray's scheduling strategies of `count` actors: in shared devices, else on as many nodes as there are."""
    return devices.places()[:count] if devices is not None else ["SPREAD"] * count
