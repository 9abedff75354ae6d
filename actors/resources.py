"""What the parts of a job ask Ray for, and whether there is enough: an error instead of waiting forever."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from actors.config import (
    EvidenceConfig,
    GeneratorConfig,
    JudgeConfig,
    PolicyConfig,
    RolloutWorkersConfig,
    SamplerConfig,
)

Role = PolicyConfig | SamplerConfig | GeneratorConfig | JudgeConfig | EvidenceConfig | RolloutWorkersConfig
"""A section of a recipe that something is started for."""


@dataclass(frozen=True)
class Demand:
    """Equal actors of one role; none of them can be split over nodes."""

    key: str
    """The recipe's key that sets `count`."""
    count: int
    cpus: float
    """Ray's logical CPUs of one actor."""
    gpus: float = 0
    """GPUs of one actor."""
    gpus_key: str = ""
    """The recipe's key that sets `gpus`."""


def demands_of(key: str, role: Role) -> Iterator[Demand]:
    """Yield what a section of a recipe asks Ray for; nothing if all of it runs in the caller's process."""
    if isinstance(role, PolicyConfig):
        yield Demand(f"{key}.num_ranks", role.num_ranks, 1, role.gpus_per_rank, f"{key}.gpus_per_rank")
    elif isinstance(role, SamplerConfig):
        yield Demand(f"{key}.num_samplers", role.num_samplers, 1, role.gpus_per_sampler, f"{key}.gpus_per_sampler")
    elif isinstance(role, RolloutWorkersConfig):
        yield Demand(f"{key}.num_workers", role.num_workers, role.cpus_per_worker)
    elif isinstance(role, EvidenceConfig) and role.judge is not None:
        yield from demands_of(f"{key}.judge", role.judge)
    elif isinstance(role, JudgeConfig) and role.kind == "ensemble":
        for number, member in enumerate(role.member_configs):
            yield from demands_of(f"{key}.members.{number}", member)
    elif role.num_replicas:
        yield _of_replicas(key, role)


def needs_ray(roles: Mapping[str, Role]) -> bool:
    """Whether any of the roles runs in actors."""
    return any(True for key, role in roles.items() for _ in demands_of(key, role))


def _of_replicas(key: str, role: GeneratorConfig | JudgeConfig | EvidenceConfig) -> Demand:
    many, count = f"{key}.num_replicas", role.num_replicas
    if isinstance(role, GeneratorConfig) and role.server.command:
        return Demand(many, count, role.server.cpus, role.server.gpus, f"{key}.server.gpus")
    if not isinstance(role, JudgeConfig):
        return Demand(many, count, role.cpus_per_replica, role.gpus_per_replica, f"{key}.gpus_per_replica")
    if role.kind == "vllm":
        return Demand(many, count, role.server.cpus, role.server.gpus, f"{key}.server.gpus")
    # A judge that is asked over HTTP takes none.
    return Demand(many, count, 0 if role.kind == "openai" else role.cpus_per_replica)


def check_colocation(policy: PolicyConfig, samplers: SamplerConfig) -> None:
    """Raise ValueError unless each sampler can take turns with a rank of the policy on its devices."""
    if policy.gpus_per_rank != samplers.gpus_per_sampler:
        raise ValueError(
            "placement=colocate: a sampler takes turns with a rank on its device, so policy.gpus_per_rank "
            f"({policy.gpus_per_rank:g}) and samplers.gpus_per_sampler ({samplers.gpus_per_sampler:g}) have to be "
            "equal, at most 1; or set placement=separate"
        )
    if samplers.num_samplers > policy.num_ranks:
        raise ValueError(
            f"placement=colocate: samplers.num_samplers={samplers.num_samplers}, but there are devices of only "
            f"policy.num_ranks={policy.num_ranks} to take turns on; lower the first, or set placement=separate"
        )


def gpus_of(roles: Mapping[str, Role], colocated: Collection[str] = ()) -> dict[str, float]:
    """Return the GPUs that each role takes for itself; `colocated` ones take turns on those of another."""
    return {
        key: 0.0 if key in colocated else float(sum(one.gpus * one.count for one in demands_of(key, role)))
        for key, role in roles.items()
    }


def check_room(
    roles: Mapping[str, Role],
    *,
    cpus: float,
    gpus: float,
    where: str,
    cpus_key: str,
    colocated: Collection[str] = (),
) -> None:
    """Raise ValueError for a role that alone asks for more than there is, or for more GPUs than all have together.

    `cpus_key` is what sets the CPUs, `colocated` names roles on the GPUs of another.
    """
    for one in (demand for key, role in roles.items() for demand in demands_of(key, role)):
        if one.gpus * one.count > gpus:
            raise ValueError(
                f"{one.key}={one.count} with {one.gpus_key}={one.gpus:g} takes {one.gpus * one.count:g} GPUs, and "
                f"{where} has {gpus:g}: lower either, or choose a recipe for less (those named shapes_* take none)"
            )
        if one.cpus * one.count > cpus:
            raise ValueError(
                f"{one.key}={one.count} takes {one.cpus * one.count:g} of Ray's logical CPUs, and {where} has "
                f"{cpus:g}: lower {one.key}, or raise {cpus_key}"
            )

    taken = {key: number for key, number in gpus_of(roles, colocated).items() if number}
    if sum(taken.values()) > gpus:
        parts = ", ".join(f"{key} {number:g}" for key, number in taken.items())
        raise ValueError(
            f"the recipe takes {sum(taken.values()):g} GPUs ({parts}), and {where} has {gpus:g}: lower one of them; "
            "in RL policy and samplers can take turns (placement=colocate)"
        )


def num_gpus_here() -> int:
    """Return how many GPUs a Ray started here would find."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    visible = manager.get_current_process_visible_accelerator_ids()
    found: int = manager.get_current_node_num_accelerators()
    return found if visible is None else min(found, len(visible))
