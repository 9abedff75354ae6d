"""What the parts of a job ask Ray for, and whether there is so much: a sentence in place of waiting for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from actors.config import (
    EvidenceConfig,
    GeneratorConfig,
    JudgeConfig,
    PolicyConfig,
    RolloutWorkersConfig,
    SamplerConfig,
)
from actors.judge.config import member_configs

Role = PolicyConfig | SamplerConfig | GeneratorConfig | JudgeConfig | EvidenceConfig | RolloutWorkersConfig
"""A section of a recipe for which something is started."""


@dataclass(frozen=True)
class Demand:
    """Equal actors of one role; none of them can be split over nodes."""

    key: str
    """Says how many, in the recipe."""
    count: int
    cpus: float
    """Ray's logical CPUs of one; ..."""
    gpus: float
    """... and its GPUs."""


def demands_of(key: str, role: Role) -> Iterator[Demand]:
    """Yield what a section of a recipe asks Ray for; nothing where all of it runs in the caller's process."""
    if isinstance(role, PolicyConfig):
        yield Demand(f"{key}.num_ranks", role.num_ranks, 1, role.gpus_per_rank)
    elif isinstance(role, SamplerConfig):
        yield Demand(f"{key}.num_samplers", role.num_samplers, 1, role.gpus_per_sampler)
    elif isinstance(role, RolloutWorkersConfig):
        yield Demand(f"{key}.num_workers", role.num_workers, role.cpus_per_worker, 0)
    elif isinstance(role, EvidenceConfig) and role.judge is not None:
        yield from demands_of(f"{key}.judge", role.judge)
    elif isinstance(role, JudgeConfig) and role.kind == "ensemble":
        for number, member in enumerate(member_configs(role)):
            yield from demands_of(f"{key}.members.{number}", member)
    elif role.num_replicas:
        yield Demand(f"{key}.num_replicas", role.num_replicas, *_of_replica(role))


def needs_ray(roles: Mapping[str, Role]) -> bool:
    """Say whether any of the roles runs in actors."""
    return any(True for key, role in roles.items() for _ in demands_of(key, role))


def _of_replica(role: GeneratorConfig | JudgeConfig | EvidenceConfig) -> tuple[float, float]:
    """Return the CPUs and GPUs of one replica; who is asked over HTTP takes none."""
    if isinstance(role, JudgeConfig):
        asked = {"vllm": (role.server.cpus, role.server.gpus), "openai": (0.0, 0.0)}
        return asked.get(role.kind, (role.cpus_per_replica, 0))
    return role.cpus_per_replica, role.gpus_per_replica
