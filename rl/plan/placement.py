"""Who is where: each role's processes on the GPUs of nodes, and what a role lacks where there are too few."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from actors.resources import Demand, Role, demands_of
from rl.plan.devices import Devices
from rl.recipe.config import Recipe

RANKS = "policy.num_ranks"
_EPSILON = 1e-9


@dataclass(frozen=True)
class Placed:
    """Processes of one role on one node."""

    key: str
    """The recipe's key that says how many there are."""
    node: int
    """From 0."""
    gpus: tuple[int, ...]
    """On each of these, one process or a part of one; empty: on CPUs."""
    count: int


@dataclass(frozen=True)
class Lack:
    """What a role asks for and does not get."""

    demand: Demand
    num_placed: int

    @property
    def gpus(self) -> float:
        """GPUs that are missing."""
        return (self.demand.count - self.num_placed) * self.demand.gpus

    def __str__(self) -> str:
        one = self.demand
        gpus = f"{one.gpus:g} GPU{'s' if one.gpus != 1 else ''}"
        return (
            f"{one.key}={one.count} with {one.gpus_key}={one.gpus:g}: {self.num_placed} of {one.count} have a place; "
            f"the others lack {gpus} each, {self.gpus:g} in all"
        )


@dataclass(frozen=True)
class Placement:
    """Where everything is."""

    placed: tuple[Placed, ...]
    lacks: tuple[Lack, ...]
    num_gpus: float
    """That all roles ask for."""


def roles_of(recipe: Recipe) -> dict[str, Role]:
    """Return all that a recipe may start, its evidence included."""
    return {**recipe.roles, **{f"evidence.{name}": config for name, config in recipe.evidence.items()}}


def place(roles: Mapping[str, Role], devices: Devices, colocated: Collection[str] = ()) -> Placement:
    """Put the roles on the devices, in their order: whole GPUs first, then shares of what is left.

    A process with several GPUs has them on one node. Ray may choose other GPUs, but has as much room. `colocated` roles
    take turns with the policy's ranks, one with each.
    """
    demands = [one for key, role in roles.items() if key not in colocated for one in demands_of(key, role)]
    free = [[1.0] * devices.gpus_per_node for _ in range(devices.num_nodes)]
    placed: list[Placed] = []
    lacks: list[Lack] = []
    for one in sorted(demands, key=lambda demand: demand.gpus < 1):
        if not one.gpus:
            placed.append(Placed(one.key, 0, (), one.count))
            continue
        spots = list(_spots(one, free))
        for node in sorted({node for node, _ in spots}):
            here = [gpus for number, gpus in spots if number == node]
            placed.append(Placed(one.key, node, tuple(gpu for gpus in here for gpu in gpus), len(here)))
        if len(spots) < one.count:
            lacks.append(Lack(one, len(spots)))
    for key in colocated:
        for one in demands_of(key, roles[key]):
            placed += _beside(one, [ranks for ranks in placed if ranks.key == RANKS])
    return Placement(tuple(placed), tuple(lacks), sum(one.count * one.gpus for one in demands))


def _beside(one: Demand, ranks: Sequence[Placed]) -> Iterator[Placed]:
    """Yield the processes of a role on the devices of ranks, as far as there are any."""
    left = one.count
    for of_node in ranks:
        here = min(left, of_node.count)
        if here:
            yield Placed(one.key, of_node.node, of_node.gpus[:here], here)
        left -= here


def _spots(one: Demand, free: list[list[float]]) -> Iterator[tuple[int, list[int]]]:
    """Take room for the processes of a role; yield the node and GPUs of each that finds some."""
    for _ in range(one.count):
        spot = _spot(one.gpus, free)
        if spot is None:
            return
        node, gpus = spot
        for gpu in gpus:
            free[node][gpu] -= min(1.0, one.gpus)
        yield spot


def _spot(gpus: float, free: list[list[float]]) -> tuple[int, list[int]] | None:
    share, number = min(1.0, gpus), max(1, int(gpus))
    for node, rooms in enumerate(free):
        fitting = [gpu for gpu, room in enumerate(rooms) if room >= share - _EPSILON]
        # A share goes where least is left, so that whole ones stay whole.
        fitting.sort(key=lambda gpu: (rooms[gpu], gpu))
        if len(fitting) >= number:
            return node, fitting[:number]
    return None
