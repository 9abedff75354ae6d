"""Stand-ins of part (b): a generator and a judge that only wait, as long for one framework as for the other.

Both are classes of a user's own (`actors.user_classes.roles`): ours makes them in replicas, TRL's side in its process.
An answer, and how long it takes, follow from what is asked alone.
"""

import asyncio
import math
import random
from functools import cached_property

from PIL import Image

from actors.user_classes.roles import Edit, Look
from rollout.text.seeds import seed_of
from rollout.types import Scores

EDIT_S, NUM_GENERATORS = 0.9, 8
JUDGE_MEDIAN_S, JUDGE_SIGMA, NUM_JUDGE_CALLS, NUM_JUDGE_SLOTS = 4.0, 0.8, 2, 64
SIDE = 64
"""Pixels of a picture."""


class StandInGenerator:
    """Makes a picture of one colour on one of eight devices, each of which takes 0.9 s and makes one at a time."""

    def __init__(self, scale: float = 1.0):
        """`scale` multiplies all times, for tests."""
        self._scale = scale

    async def edit(self, edit: Edit) -> Image.Image:
        async with self._devices:
            await asyncio.sleep(EDIT_S * self._scale)
        return Image.new("RGB", (SIDE, SIDE), seed_of(edit.prompt, edit.seed) & 0xFFFFFF)

    @cached_property
    def _devices(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(NUM_GENERATORS)


class StandInJudge:
    """Asks twice at once for each picture; 64 calls are answered at a time, each after a lognormal wait."""

    def __init__(self, scale: float = 1.0):
        """`scale` multiplies all times, for tests."""
        self._scale = scale

    async def score(self, look: Look) -> Scores:
        seeds = [seed_of(look.after.tobytes().hex(), look.instruction, call) for call in range(NUM_JUDGE_CALLS)]
        semantics, quality = await asyncio.gather(*map(self._ask, seeds))
        return Scores(semantics, quality)

    async def _ask(self, seed: int) -> float:
        async with self._slots:
            await asyncio.sleep(judge_seconds(seed) * self._scale)
        return random.Random(seed).uniform(0, 10)

    @cached_property
    def _slots(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(NUM_JUDGE_SLOTS)


def judge_seconds(seed: int) -> float:
    """Return how long one call takes.

    >>> round(judge_seconds(0), 2)
    3.45
    """
    return random.Random(seed).lognormvariate(math.log(JUDGE_MEDIAN_S), JUDGE_SIGMA)
