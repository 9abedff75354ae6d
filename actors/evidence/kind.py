"""The interface of a kind of evidence."""

from abc import ABC, abstractmethod

from actors.evidence.config import EvidenceConfig
from actors.evidence.registry import load_kind
from actors.run_context import RunContext
from rollout.roles import EvidenceProvider


class EvidenceKind(ABC):
    """One kind of evidence. Its file is imported for every recipe, so its methods import what loads slowly."""

    @abstractmethod
    def check(self, name: str, config: EvidenceConfig) -> None:
        """Raise ValueError for what is missing. Starts nothing."""

    def check_settings(self, name: str, config: EvidenceConfig) -> None:
        """Raise ValueError for what `check` refuses, as far as that shows without keys and models."""
        self.check(name, config)

    @abstractmethod
    def describe(self, config: EvidenceConfig) -> dict[str, str]:
        """Return what it depends on, by content. Raises ValueError for what is missing."""

    @abstractmethod
    async def start(self, config: EvidenceConfig, context: RunContext) -> EvidenceProvider:
        """Start what it needs."""

    def num_gpus(self, config: EvidenceConfig) -> float:
        """Return the number of GPUs it takes from the run."""
        return config.num_replicas * config.gpus_per_replica


def kind_of(config: EvidenceConfig) -> EvidenceKind:
    """Return the kind of evidence: as set, or determined by whether `fn` or `judge` is set."""
    kind: EvidenceKind = load_kind(config.kind or ("function" if config.judge is None else "judge"))
    return kind
