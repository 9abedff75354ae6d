"""What a kind of evidence is to everything else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from rollout.roles import EvidenceProvider

if TYPE_CHECKING:
    from actors.config import EvidenceConfig
    from actors.run_context import RunContext


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
