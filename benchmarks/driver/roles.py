"""Stand-ins around the driver: they say as much as real ones and compute next to nothing.

The actors import this module, not the measurement: what a driver needs takes seconds to import.
"""

import asyncio
import itertools
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rollout.text.critique import format_critique
from rollout.types import (
    CompareRequest,
    Critique,
    EditRequest,
    ImageRef,
    Response,
    SampleRequest,
    ScoreRequest,
    Scores,
    Task,
)

PROMPT, RESPONSE = 2120, 400
"""Tokens, as in the released recipe."""
FAILED_SHARE = 0.6
"""Of the records: so many responses are tried out on the generator."""
_VOCABULARY = 151_000
_SENTENCE = "The box stands to the left of the lamp, but the instruction asks for it behind the lamp and half hidden. "


def make_task(number: int) -> Task:
    """Return a task whose texts are as long as those of a record."""
    return Task(
        id=f"task-{number:06d}",
        instruction=f"Place the red box behind the lamp, half hidden by its shade, as in picture {number}.",
        prompt=f"A photo of a desk with a lamp and a red box behind it, half hidden, warm evening light, {number}.",
        before=_reference("before", number),
        after=_reference("after", number),
        is_success=number % 10 >= 10 * FAILED_SHARE,
        scores=Scores(2.0, 5.0, "The box is not behind the lamp."),
    )


def _reference(*what: object) -> ImageRef:
    return f"sha256:{zlib.crc32(repr(what).encode()):064x}"


@dataclass
class WordySampler:
    """Answers at once, with prompts and responses of the released size."""

    async def sample(self, request: SampleRequest) -> Response:
        """Return a critique of `RESPONSE` tokens; requests with the same images have the same prompt."""
        prompt = np.random.default_rng(zlib.crc32(repr(request.images).encode()))
        dice = np.random.default_rng(request.seed % 2**63)
        thought = _SENTENCE * int(dice.integers(10, 16))
        return Response(
            prompt.integers(0, _VOCABULARY, PROMPT, np.int32),
            dice.integers(0, _VOCABULARY, RESPONSE, np.int32),
            format_critique(Critique(False, f"A red box behind a lamp, variant {dice.integers(10**9)}.", thought)),
            -dice.random(RESPONSE, np.float32),
            policy_version=0,
        )


@dataclass
class SleepingGenerators:
    """One worker's part of a pool: `places` edits at once, each of which takes `edit_s`."""

    places: int
    edit_s: float
    _free: asyncio.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.places)

    def __reduce__(self) -> tuple[Any, ...]:
        return SleepingGenerators, (self.places, self.edit_s)

    async def edit(self, request: EditRequest) -> ImageRef:
        async with self._free:
            await asyncio.sleep(self.edit_s)
        return _reference(request.prompt, request.seed)

    async def stats(self) -> dict[str, float]:
        """Return the CPU time of this process, a worker's."""
        return {"generator/process_seconds": time.process_time()}


@dataclass
class TalkativeJudge:
    """Scores by the image's name, with a reason as long as a real one's."""

    async def score(self, request: ScoreRequest) -> Scores:
        return self._look(request.after)

    async def compare(self, request: CompareRequest) -> tuple[Scores, Scores]:
        return self._look(request.old), self._look(request.new)

    async def stats(self) -> dict[str, float]:
        return {}

    def _look(self, image: ImageRef) -> Scores:
        number = zlib.crc32(image.encode())
        return Scores(float(number % 11), float(number // 11 % 11), 2 * _SENTENCE)


class Rank:
    """A rank that unpacks what it is sent, and learns nothing."""

    def update(self, shares: list[Any], temperature: float) -> dict[str, float]:
        """Return how many response tokens it was given."""
        tokens = itertools.chain.from_iterable(share.rows for share in shares)
        return {
            "policy/loss": 0.0,
            "policy/grad_norm": 0.0,
            "policy/rank_tokens": float(sum(len(row.token_ids) for row in tokens)),
        }


class ImageMaker:
    """Stands for `actors.policy.image_tensors.ImageWorker`; what it makes stays in Ray's object store, too."""

    def make(self, images: tuple[ImageRef | None, ...]) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(1 << 17, np.uint8), np.ones((len(images), 3), np.int64)

    def make_all(self, prompts: Sequence[tuple[ImageRef | None, ...]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the same for each of some prompts."""
        for images in prompts:
            yield self.make(images)
