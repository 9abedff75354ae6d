"""A policy that takes turns with samplers on the same devices."""

from typing import Protocol

from actors.policy.policy import Policy
from rollout.types import Batch


class Sleepers(Protocol):
    """Samplers (`actors.sampler.sampler.Samplers`)."""

    async def sleep(self) -> None:
        """Free the memory of weights and key-value caches until the next publish; requests wait meanwhile."""
        ...


class ColocatedPolicy(Policy):
    """Before an update the samplers sleep; the publish after it wakes them.

    Where nothing is updated they stay awake. Between an update and its publish nobody can be answered: who fails there
    has to end the run, or publish.
    """

    _sleepers: Sleepers | None = None

    def take_turns_with(self, sleepers: Sleepers) -> None:
        """Let these sleep before each update."""
        self._sleepers = sleepers

    async def update(self, batch: Batch) -> dict[str, float]:
        """Do the optimizer steps for one batch, with the devices to itself; return metrics keyed `policy/...`."""
        if self._sleepers is not None:
            await self._sleepers.sleep()
        return await super().update(batch)
