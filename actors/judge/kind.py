"""What a kind of judge is to everything else: nothing beside its own file asks which kind a judge has."""

from __future__ import annotations

from abc import ABC, abstractmethod

from actors.judge.config import JudgeConfig
from actors.judge.registry import JudgeTraits, load_kind
from actors.metered.config import EndpointConfig
from actors.run_context import RunContext
from rollout.roles import Judge


class JudgeKind(JudgeTraits, ABC):
    """One kind of judge. Its file is read with every recipe: what takes long to import, its methods import."""

    @abstractmethod
    def describe(self, config: JudgeConfig) -> dict[str, str]:
        """Return what its scores depend on, by content. Raises ValueError for what is missing."""

    @abstractmethod
    async def start(self, config: JudgeConfig, context: RunContext) -> Judge:
        """Start what it needs. Raises ValueError for one that cannot work."""

    def check(self, config: JudgeConfig, where: str) -> None:
        """Raise ValueError for what it lacks beyond `describe`: a model, a key. Starts nothing."""

    def sees_both(self, config: JudgeConfig) -> bool:
        """Say whether it looks at two attempts side by side."""
        return False

    def endpoints(self, config: JudgeConfig) -> list[EndpointConfig]:
        """Return the servers of others that answer its calls, to be tried before a run starts."""
        return []

    def num_gpus(self, config: JudgeConfig) -> float:
        """Return the GPUs that the run gives it."""
        return 0.0


def kind_of(config: JudgeConfig) -> JudgeKind:
    """Return what a judge's kind is and can do."""
    return load_kind(config.kind)
