"""Samplers that were all lost while answers are drawn: once one is back, it gets the policy's weights again.

An engine that Ray has started again answers nothing before it gets weights. Where others live, the publish after the
step is soon enough; where none does, that step's requests wait for it (`actors.sampler.sampler`).
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Generic, Protocol, TypeVar, runtime_checkable

from rollout.roles import Policy, Sampler

EVERY_S = 3.0
"""How often samplers are asked."""
Result = TypeVar("Result")
Other = TypeVar("Other")
Step = TypeVar("Step")


@runtime_checkable
class Losable(Protocol):
    """Samplers whose processes may be lost (`actors.sampler.sampler.Samplers`)."""

    async def lack_weights(self) -> bool:
        """Return whether none of them can answer before a publish."""
        ...


class LostWeights:
    """Publishes again what a policy has, while nothing else is asked of it."""

    def __init__(self, policy: Policy, samplers: Sampler, tell: Callable[[str], None]):
        self._policy, self._samplers, self._tell = policy, samplers, tell

    async def mended_during(self, work: Awaitable[Result]) -> Result:
        """Return what work that needs samplers comes to. Raises its errors, and `PublishError`."""
        if not isinstance(self._samplers, Losable):
            return await work
        working = asyncio.ensure_future(work)
        try:
            while not await _is_done(working, asyncio.sleep(EVERY_S)):
                asked = asyncio.ensure_future(self._samplers.lack_weights())
                if not await _is_done(working, asked) and asked.result():
                    self._tell(
                        f"no sampler has weights any more: those of version {self._policy.version} are sent again"
                    )
                    await self._policy.publish(self._samplers)
            return working.result()
        finally:
            if not working.done():
                working.cancel()
                await asyncio.wait([working])

    def mended_in(self, steps: AsyncIterable[Step]) -> AsyncIterator[Step]:
        """Yield steps, each of them waited for in this way."""
        return _Mended(aiter(steps), self)


class _Mended(AsyncIterator[Step], Generic[Step]):
    """No generator, which would hold a step while the next one is made."""

    def __init__(self, steps: AsyncIterator[Step], lost: LostWeights):
        self._steps, self._lost = steps, lost

    async def __anext__(self) -> Step:
        return await self._lost.mended_during(anext(self._steps))


async def _is_done(working: "asyncio.Future[Result]", other: Awaitable[Other]) -> bool:
    """Return, as soon as that or something else is done, whether the work is; the other is left then."""
    beside = asyncio.ensure_future(other)
    both: list[asyncio.Future[Result] | asyncio.Future[Other]] = [working, beside]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return working.done()
    finally:
        beside.cancel()
