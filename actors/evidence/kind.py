"""What a kind of evidence is to everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod

from actors.evidence.config import EvidenceConfig
from actors.evidence.registry import load_kind
from actors.run_context import RunContext
from rollout.roles import EvidenceProvider


class EvidenceKind(ABC):
    """One kind of evidence. Its file is read with every recipe: what takes long to import, its methods import."""

    @abstractmethod
    def check(self, name: str, config: EvidenceConfig) -> None:
        """Raise ValueError for what it lacks. Starts nothing."""

    @abstractmethod
    def describe(self, config: EvidenceConfig) -> dict[str, str]:
        """Return what it depends on, by content. Raises ValueError for what is missing."""

    @abstractmethod
    async def start(self, config: EvidenceConfig, context: RunContext) -> EvidenceProvider:
        """Start what it needs."""

    def num_gpus(self, config: EvidenceConfig) -> float:
        """Return the GPUs that the run gives it."""
        return config.num_replicas * config.gpus_per_replica


def kind_of(config: EvidenceConfig) -> EvidenceKind:
    """Return what kind of evidence this is: as it says, or by what it gives (`fn` or `judge`)."""
    return load_kind(config.kind or ("function" if config.judge is None else "judge"))
