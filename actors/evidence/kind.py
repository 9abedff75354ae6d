"""The interface of a kind of evidence."""

from abc import ABC, abstractmethod
from typing import ClassVar

from actors.evidence.config import EvidenceConfig
from actors.evidence.registry import load_kind
from actors.run_context import RunContext
from actors.user_classes.trial import Code
from rollout.roles import EvidenceProvider


class EvidenceKind(ABC):
    """One kind of evidence. Its file is imported for every recipe, so its methods import what loads slowly."""

    unused: ClassVar[frozenset[str]] = frozenset()
    """Keys of its section that do nothing for it."""

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

    def code_of(self, config: EvidenceConfig) -> Code | None:
        """Return the code that is the evidence; None where a judge is."""
        return None

    def num_gpus(self, config: EvidenceConfig) -> float:
        """Return the number of GPUs it takes from the run."""
        return config.num_replicas * config.gpus_per_replica


def kind_of(config: EvidenceConfig) -> EvidenceKind:
    """Return what a kind of evidence is and can do."""
    kind: EvidenceKind = load_kind(config.kind_name)
    return kind
