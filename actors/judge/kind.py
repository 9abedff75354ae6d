"""What a kind of judge is to everything else: nothing beside its own file asks which kind a judge has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from rollout.roles import Judge

if TYPE_CHECKING:
    from actors.judge.config import EndpointConfig, JudgeConfig
    from actors.run_context import RunContext


class JudgeKind(ABC):
    """One kind of judge. Its file is read with every recipe: what takes long to import, its methods import."""

    is_asked: ClassVar[bool] = False
    """A model that answers prompts: with a rubric, repeats, and fit to be a teacher."""
    has_prices: ClassVar[bool] = False
    """Its calls cost US dollars, by the recipe's prices."""
    has_members: ClassVar[bool] = False
    """It is made of other judges, `judge.members`."""
    has_options: ClassVar[bool] = False
    """It takes `judge.options`."""

    @abstractmethod
    def describe(self, config: JudgeConfig) -> dict[str, str]:
        """Return what its scores depend on, by content. Raises ValueError for what is missing."""

    @abstractmethod
    async def start(self, config: JudgeConfig, context: RunContext) -> Judge:
        """Start what it needs. Raises ValueError for one that cannot work."""

    def check(self, config: JudgeConfig, where: str) -> None:  # noqa: B027 (most lack nothing)
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
