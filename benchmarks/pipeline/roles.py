"""Stand-ins for the policy, the samplers' engine and the judge's endpoint: what takes long is a sleep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ray

from actors.calls import ask
from actors.judge.config import JudgeConfig
from actors.judge.openai_asker import OpenAIAsker
from actors.judge.prompts import RubricPrompts
from actors.judge.question import Question
from actors.judge.rubric import RubricJudge
from actors.metered.metered_calls import MeteredCalls
from actors.metered.retry import RetryPolicy
from actors.metered.service import Pooled
from actors.metered.shared_calls import SharedCalls
from actors.metered.usage_ledger import UsageLedger
from actors.sampler.sampler import Samplers
from actors.store.store import Store
from benchmarks.pipeline.scenario import (
    NUM_TASKS,
    PROMPT_TOKENS,
    RESPONSE_TOKENS,
    N,
    Scenario,
    judge_scores,
    place_of,
    response_text,
)
from rl.plan.stage_times import Work
from rollout.types import Batch, ImageRef, Response, SampleRequest
from tests.support.fakes import FakePolicy

_MAX_CONCURRENCY = 4096


class StandInEngine:
    """A sampler's engine: so many responses at a time, each in the time drawn for it."""

    def __init__(self, scenario: Scenario, num_places: int, is_serial: bool):
        self._scenario, self._is_serial = scenario, is_serial
        self._of_seed = scenario.places()
        self._places = asyncio.Semaphore(num_places)
        self._all_there: dict[int, asyncio.Barrier] = {}
        self._version = 0
        self._num_tokens = 0

    async def ready(self) -> None:
        """It is."""

    async def has_weights(self) -> bool:
        """It has: the driver asks where a step takes long, as on a busy machine."""
        return True

    async def sample(self, request: SampleRequest) -> Response:
        """Return the response; in a serial run once the last one of its step is there."""
        place = self._of_seed[request.seed]
        async with self._places:
            version = self._version
            await asyncio.sleep(self._scenario.times.seconds(Work.SAMPLE, *place))
        self._num_tokens += RESPONSE_TOKENS
        if self._is_serial:
            await self._all_there.setdefault(place[0], asyncio.Barrier(NUM_TASKS * N)).wait()
        tokens, logprobs = tuple(range(RESPONSE_TOKENS)), (-0.5,) * RESPONSE_TOKENS
        return Response(tuple(range(PROMPT_TOKENS)), tokens, response_text(place), logprobs, version)

    async def set_version(self, version: int) -> None:
        """Go on with new weights."""
        self._version = version

    async def stats(self) -> dict[str, float]:
        return {"tokens": float(self._num_tokens)}


class Learner:
    """The policy's ranks: an update is a batch that arrives, and a sleep."""

    async def update(self, batch: Batch, seconds: float) -> int:
        """Return how many tokens there were to learn from."""
        await asyncio.sleep(seconds)
        return batch.num_tokens


class StandInPolicy(FakePolicy):
    """A policy that learns nothing in the time that an update takes."""

    def __init__(self, scenario: Scenario, on_published: Callable[[], None]):
        """Call `on_published` whenever weights are: the initial ones first."""
        super().__init__()
        self._on_published = on_published
        self._times = scenario.times
        self._learner = ray.remote(Learner).options(num_cpus=0).remote()

    def prepare(self, images: tuple[ImageRef | None, ...]) -> None:
        """Make nothing ready."""

    async def update(self, batch: Batch) -> dict[str, float]:
        tokens = await ask(self._learner.update, batch, self._times.seconds(Work.UPDATE, self.version + 1))
        self.version += 1
        return {"policy/tokens": float(tokens)}

    async def publish(self, samplers: Any) -> dict[str, float]:
        await samplers.each("set_version", self.version)
        self._on_published()
        return {}


def start_samplers(scenario: Scenario, config: Any, *, is_serial: bool) -> Samplers:
    """Return the real samplers' handle on a stand-in engine."""
    actor = ray.remote(StandInEngine).options(num_cpus=0, max_concurrency=_MAX_CONCURRENCY)
    return Samplers([actor.remote(scenario, config.max_num_seqs, is_serial)], config)


async def start_judge(scenario: Scenario, config: JudgeConfig, store_root: str, ledger: Path) -> RubricJudge:
    """Return the rubric's judge, whose owner waits where it would send a request."""
    make = partial(_make_calls, scenario, config, store_root, str(ledger))
    owner = await SharedCalls.start(make)
    return RubricJudge(OpenAIAsker("stand-in", store_root, owner), RubricPrompts.read(config))


def _make_calls(
    scenario: Scenario, config: JudgeConfig, store_root: str, ledger: str, is_continued: bool
) -> MeteredCalls:
    store = Store(store_root)
    return MeteredCalls(
        store,
        RetryPolicy(config.timeout_s, config.num_attempts),
        Pooled(partial(_answer, scenario, store), config.max_concurrency),
        UsageLedger("judge", ledger, is_continued=is_continued),
    )


async def _answer(scenario: Scenario, store: Store, question: Question) -> dict[str, Any]:
    """Answer one question: the first one of a look shows the image before, too."""
    call = 0 if len(question.images) > 1 else 1
    place = place_of(await asyncio.to_thread(store.get_image, question.images[-1]))
    await asyncio.sleep(scenario.times.seconds(Work.JUDGE, *place, call))
    return {"scores": judge_scores(place, call), "reasoning": "as drawn"}
