"""One sample's journey: response -> critique -> image -> scores -> reward.

Every response of a group travels by itself: its image is being generated while its siblings are still
being sampled. This is the only place where an exception becomes a status.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from rollout.critic import CritiqueError, parse_critique, render_messages
from rollout.roles import Generator, Judge, Sampler
from rollout.seeds import seed_of
from rollout.types import (
    Critique,
    EditRequest,
    Evidence,
    Failure,
    Group,
    Response,
    Reward,
    Sample,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Stage,
    Task,
)


class Regenerate(StrEnum):
    """Which parsed critiques are tried out on the generator."""

    BY_LABEL = "by_label"
    """Failed records only, whatever the verdict: claiming success dodges nothing (as released)."""
    BY_VERDICT = "by_verdict"
    """Where the critic says that the step failed (as at inference)."""
    ALWAYS = "always"

    def applies(self, task: Task, critique: Critique) -> bool:
        if self is Regenerate.BY_LABEL:
            return not task.is_success
        if self is Regenerate.BY_VERDICT:
            return not critique.is_success
        return True


@dataclass(frozen=True)
class SingleStep:
    """Carries a task to a group. Picklable when its roles are."""

    sampler: Sampler
    generator: Generator
    judge: Judge
    reward: Callable[[Evidence], Reward]
    template: str
    """Text of the critic's prompt file."""
    params: SamplingParams
    regenerate: Regenerate = Regenerate.BY_LABEL

    async def roll_out(self, task: Task, n: int, seed: int, *, edit_seeds: tuple[int, ...]) -> Group:
        """Return the group of `n` samples of a task; failed ones are in it, with their stage and error.

        `seed` draws the responses. Response i is tried out with `edit_seeds[i % len(edit_seeds)]`: one
        seed makes the prompts of a group comparable, several average over the generator's luck.
        """
        samples = [self._sample(task, i, seed_of(seed, task.id, i), edit_seeds[i % len(edit_seeds)]) for i in range(n)]
        return Group(task, tuple(await asyncio.gather(*samples)))

    async def stats(self) -> dict[str, float]:
        """Return what generator and judge counted in this process."""
        return await self.generator.stats() | await self.judge.stats()

    async def _sample(self, task: Task, index: int, seed: int, edit_seed: int) -> Sample:
        journey = _Journey()
        evidence = reward = failure = None
        try:
            async with journey.at(Stage.SAMPLE):
                response = await self.sampler.sample(self._request(task, seed))
            evidence = _read(task, response)
            if evidence.critique is not None and self.regenerate.applies(task, evidence.critique):
                async with journey.at(Stage.GENERATE):
                    edit = EditRequest(task.before, evidence.critique.refine_prompt, edit_seed)
                    evidence = replace(evidence, image=await self.generator.edit(edit))
                async with journey.at(Stage.JUDGE):
                    assert evidence.image is not None
                    look = ScoreRequest(task.before, evidence.image, task.instruction)
                    evidence = replace(evidence, scores=await self.judge.score(look))
            async with journey.at(Stage.REWARD):
                reward = self.reward(evidence)
        except Exception as error:
            failure = Failure(journey.stage, f"{type(error).__name__}: {error}"[:500])
        return Sample(task.id, index, seed, evidence, reward, failure, journey.seconds)

    def _request(self, task: Task, seed: int) -> SampleRequest:
        return SampleRequest(render_messages(self.template, task), (task.before, task.after), self.params, seed)


def lost_group(task: Task, n: int, seed: int, error: str) -> Group:
    """Return the group of a task that nobody could carry: every sample failed."""
    failure = Failure(Stage.WORKER, error)
    return Group(task, tuple(Sample(task.id, i, seed_of(seed, task.id, i), None, None, failure) for i in range(n)))


class _Journey:
    """Where a sample is and how long each stage took."""

    def __init__(self) -> None:
        self.stage = Stage.SAMPLE
        self.seconds: dict[str, float] = {}

    @asynccontextmanager
    async def at(self, stage: Stage) -> AsyncIterator[None]:
        self.stage, start = stage, time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage.value] = time.monotonic() - start


def _read(task: Task, response: Response) -> Evidence:
    try:
        return Evidence(task, response, parse_critique(response.text))
    except CritiqueError as error:
        return Evidence(task, response, None, parse_error="truncated" if response.is_truncated else error.kind)
